// LetsGo's local worker, cut down to how it takes messages; what it would handle it prints.
// https://github.com/47chapters/letsgo/blob/main/apps/worker/src/server.ts
import { createServer } from "http";

const httpError = (res, statusCode, message) => {
  res.statusCode = statusCode;
  res.end(JSON.stringify({ statusCode, message }, null, 2));
};

const server = createServer((req, res) => {
  if (req.method !== "POST" || req.url !== "/") {
    return httpError(res, 400, "Bad request. Only POST / is accepted.");
  }
  let body = "";
  req.on("data", (chunk) => (body += chunk));
  req.on("end", async () => {
    let parsedBody;
    try {
      parsedBody = JSON.parse(body);
    } catch (e) {
      return httpError(res, 400, "Bad request. Body must be JSON.");
    }
    res.statusCode = 201;
    res.end();
    console.log(JSON.stringify(parsedBody));
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
