// Sends a plan, one request after the other:  node plan.js https|fetch|http2 PORT LOG PLAN
// A line of JSON for each answer: id, status, body.
const fs = require("fs"), https = require("https"), http2 = require("http2");
const [how, port, log, path] = process.argv.slice(2);
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
process.removeAllListeners("warning");
const base = "https://127.0.0.1:" + port;

function gathered(stream, status, resolve) {
  const parts = [];
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => resolve([status(), Buffer.concat(parts)]));
}

const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
function byHttps({ method, target, headers, body }) {
  return new Promise((resolve, reject) => {
    const options = { method, agent, headers: Object.fromEntries(headers) };
    const request = https.request(base + target, options, (answer) =>
      gathered(answer, () => answer.statusCode, resolve));
    request.on("error", reject);
    request.end(body);
  });
}

async function byFetch({ method, target, headers, body }) {
  const answer = await fetch(base + target, { method, headers, body: body.length ? body : undefined });
  return [answer.status, Buffer.from(await answer.arrayBuffer())];
}

let session;
function byHttp2({ method, target, headers, body }) {
  session ??= http2.connect(base);
  return new Promise((resolve, reject) => {
    const pseudo = { ":method": method, ":path": target, ...Object.fromEntries(headers) };
    const stream = session.request(pseudo, { endStream: !body.length });
    let status;
    stream.on("response", (head) => (status = head[":status"]));
    stream.on("error", reject);
    gathered(stream, () => status, resolve);
    if (body.length) stream.end(body);
  });
}

(async () => {
  const send = { https: byHttps, fetch: byFetch, http2: byHttp2 }[how];
  for (const planned of JSON.parse(fs.readFileSync(path))) {
    const body = Buffer.from(planned.body, "base64");
    const [status, got] = await send({ ...planned, body });
    fs.appendFileSync(log, JSON.stringify([planned.id, status, got.toString("base64")]) + "\n");
  }
  agent.destroy();
  session?.close();
})();
