// An OpenID provider on a free port of this machine. It prints its issuer, and registers clients by POST /reg.
// Whoever signs in as NAME+GROUP+GROUP is NAME@example.com in these groups, with any password.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    claims: { openid: ["sub", "auth_time"], email: ["email"], profile: ["groups"] },
    features: { registration: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_, id) => {
      const [name, ...groups] = id.split("+");
      return { accountId: id, claims: () => ({ sub: id, email: `${name}@example.com`, groups }) };
    },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
