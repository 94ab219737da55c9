// Requests over HTTP/1.1 (https) and HTTP/2 to the base URL in argv; a line of JSON for each answer.
const https = require("https"), http2 = require("http2");
const base = process.argv[2];
const tell = (protocol, method, path, status, size) =>
  console.log(JSON.stringify([protocol, method, path, status, size]));

function overHttp1(agent, method, path, body) {
  return new Promise((resolve, reject) => {
    const request = https.request(base + path, { method, agent, rejectUnauthorized: false }, (r) => {
      let size = 0;
      r.on("data", (chunk) => (size += chunk.length));
      r.on("end", () => resolve(tell("http/1.1", method, path, r.statusCode, size)));
    });
    request.on("error", reject);
    if (body) { request.write(body); request.write(body); }
    request.end();
  });
}

function overHttp2(session, method, path, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": method, ":path": path, "x-from": "node" });
    let status = 0, size = 0;
    stream.on("response", (headers) => (status = headers[":status"]));
    stream.on("data", (chunk) => (size += chunk.length));
    stream.on("end", () => resolve(tell("http/2.0", method, path, status, size)));
    stream.on("error", reject);
    stream.end(body);
  });
}

(async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  for (const [m, p, b] of [["GET", "/a?x=1"], ["POST", "/b", "body"], ["HEAD", "/c"], ["GET", "/none"],
                           ["GET", "/large"], ["GET", "/missing"]])
    await overHttp1(agent, m, p, b);
  agent.destroy();
  const session = http2.connect(base, { rejectUnauthorized: false });
  const many = [];
  for (let n = 0; n < 20; n++) many.push(overHttp2(session, "GET", "/many/" + n));
  many.push(overHttp2(session, "POST", "/upload", Buffer.alloc(20000, "x")));
  many.push(overHttp2(session, "GET", "/large"));
  many.push(overHttp2(session, "HEAD", "/head"));
  await Promise.all(many);
  session.close();
})();
