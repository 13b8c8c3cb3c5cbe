// What Node's HTTP server saw. Prints its port.
const http = require("http");

const WATCHED = /^(host|cookie|authorization|content-type|range|x-\d+|x-[ab]|x-t|x-http-method-override|x-(original|rewrite)-url)$/;

function echo(request, response) {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const seen = {};
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      const name = request.rawHeaders[index].toLowerCase().replaceAll("_", "-");
      if (WATCHED.test(name)) (seen[name] ||= []).push(request.rawHeaders[index + 1]);
    }
    const headers = {};
    for (const name of Object.keys(seen).sort()) headers[name] = seen[name].join(name === "cookie" ? "; " : ", ");
    const body = Buffer.concat(parts).toString("latin1");
    const view = { method: request.method, target: request.url, headers, body, peer: "" };
    const text = Buffer.from(JSON.stringify(view)).toString("base64");
    const head = { "Content-Length": text.length };
    if (request.method === "HEAD") head["X-Echo"] = text;
    response.writeHead(200, head);
    response.end(request.method === "HEAD" ? undefined : text);
  });
}

const server = http.createServer({ maxHeaderSize: 131072 }, echo);
server.on("checkExpectation", echo);
server.on("upgrade", (request, socket) => socket.end("HTTP/1.1 426 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
