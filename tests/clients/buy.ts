// A client generated from the API's document, which buys something: from a product to a paid order.
// Run as: node buy.ts http://127.0.0.1:8080
import createClient from "openapi-fetch";
import type { components, paths } from "./shop.d.ts";

declare const process: { argv: string[] };
const client = createClient<paths>({ baseUrl: process.argv[2] });

const address: components["schemas"]["Address"] = {
  first_name: "Ada",
  last_name: "Lovelace",
  address1: "12 St James's Square",
  city: "London",
  zip: "SW1Y 4JH",
  country: "GB",
};

function there<T>(answer: { data?: T; error?: { code: string; detail: string } }): T {
  if (answer.data === undefined) throw new Error(`${answer.error?.code}: ${answer.error?.detail}`);
  return answer.data;
}

const { products } = there(
  await client.GET("/api/v1/products", {
    params: { query: { inventory_status: "in_stock", sort: "price", per_page: 1 } },
  }),
);
const [listed] = products;
const { product } = there(
  await client.GET("/api/v1/products/{product_id}", {
    params: { path: { product_id: listed.slug } },
  }),
);

const { cart } = there(await client.POST("/api/v1/carts/guest", {}));
const header = { "X-Cart-Token": cart.session_token ?? undefined };
there(
  await client.POST("/api/v1/carts/{cart_id}/items", {
    params: { path: { cart_id: cart.id }, header },
    body: { product_id: product.id, variant_id: product.variants[0].id, quantity: 1 },
  }),
);

// A refusal is typed: its code is one of those that this operation lists.
const refused = await client.POST("/api/v1/carts/{cart_id}/coupon", {
  params: { path: { cart_id: cart.id }, header },
  body: { coupon_code: "NONE" },
});
if (refused.error?.code !== "coupon_not_found") throw new Error(`not refused: ${refused.error?.code}`);

there(
  await client.POST("/api/v1/checkout/initiate", {
    params: { header },
    body: { cart_id: cart.id, shipping_address: address },
  }),
);
const done = there(
  await client.POST("/api/v1/checkout/complete", {
    params: { header: { ...header, "Idempotency-Key": crypto.randomUUID() } },
    body: {
      cart_id: cart.id,
      shipping_address: address,
      customer_email: "ada@example.com",
      payment_method: { type: "card", gateway_id: "test", token: "tok_approve" },
    },
  }),
);
console.log(JSON.stringify({ order: done.order.id, status: done.order.payment_status }));
