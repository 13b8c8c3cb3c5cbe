#!/usr/bin/env python3
"""Runs cases of Autobahn's test suite against a WebSocket server, and prints what became of each."""

import argparse
import collections
import fnmatch
import json

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor

from suite import load, to_bytes, to_text

# Cases wait for a second or so where nothing more should come. On a busy machine it comes later.
PATIENCE = 3


class Protocol(WebSocketClientProtocol):
    """What cases call, and what calls them."""

    createWirelog = False
    connectionWasOpen = False

    def enableWirelog(self, enable):
        pass

    def later(self, delay, then):
        reactor.callLater(delay, lambda: self.state != self.STATE_CLOSED and then())

    def continueLater(self, delay, then, tag=None):
        self.later(delay, then)

    def killAfter(self, delay):
        self.later(delay * PATIENCE, self._fail_connection)

    def closeAfter(self, delay):
        self.later(delay * PATIENCE, self.sendClose)

    def sendFrame(self, opcode, payload=b"", **others):
        super().sendFrame(opcode, to_bytes(payload), **others)

    def sendMessage(self, payload, isBinary=False, **others):
        super().sendMessage(to_bytes(payload), isBinary, **others)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(to_bytes(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_bytes(reasonUtf8), isReply)

    def logRxFrame(self, frameHeader, payload):
        self.rxFrameStats[frameHeader.opcode] += 1

    def logTxFrame(self, frameHeader, payload, repeatLength, chopsize, sync):
        self.txFrameStats[frameHeader.opcode] += 1

    def connectionMade(self):
        self.rxFrameStats, self.txFrameStats = collections.Counter(), collections.Counter()
        super().connectionMade()

    def onOpen(self):
        self.connectionWasOpen = True
        self.running.onOpen()

    def onMessage(self, payload, isBinary):
        # The cases of compression work with bytes.
        self.running.onMessage(payload if self.number.startswith(("12.", "13.")) else to_text(payload), isBinary)

    def onPing(self, payload):
        super().onPing(payload)
        self.running.onPing(to_text(payload))

    def onPong(self, payload):
        self.running.onPong(to_text(payload))

    def onClose(self, wasClean, code, reason):
        self.running.onClose(wasClean, code, reason)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        try:
            self.running.onConnectionLost(self.failedByMe)
        finally:
            self.factory.done(self.running)


class Factory(WebSocketClientFactory):
    def __init__(self, url, cases):
        super().__init__(url)
        self.setProtocolOptions(
            failByDrop=False, closeHandshakeTimeout=20, serverConnectionDropTimeout=20, openHandshakeTimeout=60
        )
        self.logFrames = True
        self.left, self.results = list(cases.items()), {}

    def buildProtocol(self, address):
        protocol = Protocol()
        protocol.factory = self
        protocol.number, case = self.left[0]
        protocol.running = case(protocol)
        return protocol

    def done(self, running):
        number, _ = self.left.pop(0)
        self.results[number] = [running.behavior, running.behaviorClose, running.result]

    def clientConnectionLost(self, connector, reason):
        if self.left:
            connector.connect()
        else:
            reactor.stop()

    def clientConnectionFailed(self, connector, reason):
        raise SystemExit(f"can't connect: {reason}")


def run(url, patterns, excluded):
    fits = lambda number, them: any(fnmatch.fnmatch(number, pattern) for pattern in them)
    cases = {number: case for number, case in load().items() if fits(number, patterns) and not fits(number, excluded)}
    factory = Factory(url, cases)
    connectWS(factory)
    reactor.run()
    return factory.results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--cases", default="*", help="patterns such as 5.*, separated by commas")
    parser.add_argument("--exclude", default="", help="the same")
    options = parser.parse_args()
    print(json.dumps(run(options.url, options.cases.split(","), options.exclude.split(",")), indent=0))
