// Owns the connection, so that a busy page does not hold up the sound: blocks go between the audio thread and the
// server without passing the page's own thread.

let socket, link;

onmessage = ({ data }) => {
  if (data.address) {
    link = data.link;
    link.onmessage = ({ data: block }) => {
      // What cannot be sent is dropped: late sound is of no use.
      if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < 1e6) socket.send(block);
    };
    socket = new WebSocket(data.address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data: message }) => {
      if (typeof message === "string") postMessage({ opened: JSON.parse(message) });
      else link.postMessage(new Float32Array(message));
    };
    socket.onclose = ({ reason }) => postMessage({ closed: reason || "the connection to the server was lost" });
  } else if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(data));
};
