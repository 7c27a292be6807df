# Varnish in front of R Commerce: public answers are kept, and purged by tag.
# Needs vmod xkey (Debian: varnish-modules). In the settings of R Commerce:
#   [cdn]
#   provider = "Varnish"
#   varnish_urls = ["http://varnish-1.internal:6081"]
vcl 4.1;

import xkey;

backend default {
    .host = "127.0.0.1";
    .port = "8080";
}

# Who may purge: the instances of R Commerce.
acl instances {
    "127.0.0.1";
}

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ instances) {
            return (synth(403));
        }
        set req.http.purged = xkey.purge(req.http.xkey-purge);
        return (synth(200, "Purged " + req.http.purged));
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.url !~ "^/api/v1/(products|collections|categories)") {
        return (pass);
    }
    # Staff see more; who has just written reads his own writes.
    if (req.http.Authorization || req.http.X-Consistency-Token
        || req.http.Cookie ~ "(^|; )(session=s_|consistency_token=)") {
        return (pass);
    }
    unset req.http.Cookie;
    return (hash);
}

sub vcl_backend_response {
    set beresp.http.xkey = beresp.http.Surrogate-Key;
    # While it asks anew, and where the shop is away (stale-while-revalidate, stale-if-error).
    set beresp.grace = 60s;
}

sub vcl_deliver {
    unset resp.http.xkey;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    } else {
        set resp.http.X-Cache = "miss";
    }
}
