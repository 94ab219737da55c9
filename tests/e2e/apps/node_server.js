// A server over HTTP/1.1 and HTTP/2 with Node's own OpenSSL. Arguments: certificate, key, port. A line
// of JSON for each answer: protocol, method, path, status, bytes.
const fs = require("fs"), http2 = require("http2");
const [certificate, key, port] = process.argv.slice(2);

function answer(request, response, received) {
  let size = 0;
  const write = (text) => { size += text.length; response.write(text); };
  if (request.method === "HEAD") response.setHeader("content-length", "99");
  else if (request.url === "/none") response.statusCode = 204;
  else if (request.url === "/missing") response.statusCode = 404;
  else if (request.url === "/hints") {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    write("hinted");
  } else if (request.url === "/trailers") {
    if (request.httpVersion === "1.1") response.setHeader("trailer", "x-sum");
    write("with trailers");
    response.addTrailers({ "x-sum": "13" });
  } else if (request.url === "/events") {
    response.setHeader("content-type", "text/event-stream");
    for (let n = 0; n < 3; n++) write("data: event\n\n");
  } else if (request.url === "/large") write("large-".repeat(3000));
  else write("b".repeat(received + 2));
  response.end();
  return size;
}

const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key), allowHTTP1: true };
http2.createSecureServer(options, (request, response) => {
  let received = 0;
  request.on("data", (chunk) => (received += chunk.length));
  request.on("end", () => {
    const size = answer(request, response, received);
    const protocol = request.httpVersion === "1.1" ? "http/1.1" : "http/2.0";
    console.log(JSON.stringify([protocol, request.method, request.url, response.statusCode, size]));
  });
}).listen(Number(port), "127.0.0.1");
