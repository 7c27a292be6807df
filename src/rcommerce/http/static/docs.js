"use strict";
const api = document.getElementById("api");
if (api) {
  SwaggerUIBundle({
    url: "/api/v1/openapi.json",
    domNode: api,
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: true,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
} else {
  // The front page shows the address that it was reached at.
  for (const code of document.querySelectorAll("code")) {
    code.textContent = code.textContent.replace("http://127.0.0.1:8080", location.origin);
  }
}
