// Posts each line of stdin to a URL, all at once, and keeps connections as Node's agent does today.
// Prints the statuses, and the seconds that it took.
import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";

const agent = new Agent({ keepAlive: true });

function post(line) {
  return new Promise((answered, failed) => {
    const asking = request(process.argv[2], { method: "POST", agent });
    asking.once("error", failed);
    asking.once("response", (response) => {
      response.once("end", () => answered(response.statusCode)).resume();
    });
    asking.end(line);
  });
}

const lines = (await text(process.stdin)).trim().split("\n");
const began = performance.now();
const statuses = await Promise.all(lines.map(post));
console.log(JSON.stringify({ statuses, seconds: (performance.now() - began) / 1000 }));
agent.destroy();
