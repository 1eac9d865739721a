#!/usr/bin/python3
"""A server on standard input and output that many clients share. See board.conf.

Its methods are those of JSON-RPC 2.0: put(name, value), get(name), subscribe(). After subscribe() a client is told of
each put of whomever, as the notification "changed". A line of sockd's is {"id":7, "connection":3, "request":"..."},
answered by {"id":7, "reply":"..."}; or {"closed":3}. {"connection":3, "push":"..."} goes to a client unasked.
"""
import json
import sys

VALUES = 10000

board = {}
subscribers = set()


def tell(**line):
    print(json.dumps(line), flush=True)


def put(connection, name, value):
    if name not in board and len(board) >= VALUES:
        raise ValueError("the board is full")
    board[name] = value
    news = json.dumps({"jsonrpc": "2.0", "method": "changed", "params": [name, value]})
    for subscriber in subscribers - {connection}:
        tell(connection=subscriber, push=news)
    return True


def get(connection, name):
    return board.get(name)


def subscribe(connection):
    subscribers.add(connection)
    return board


METHODS = {"put": put, "get": get, "subscribe": subscribe}


def refusal(code, text):
    return {"error": {"code": code, "message": text}}


def call(connection, request):
    """What comes of it, as the members of the answer."""
    method = METHODS.get(str(request.get("method")))
    if not method:
        return refusal(-32601, "there is no such method")
    params = request.get("params", [])
    try:
        if isinstance(params, dict):
            return {"result": method(connection, **params)}
        return {"result": method(connection, *params)}
    except (TypeError, ValueError) as e:
        return refusal(-32602, str(e))


def answer(line):
    try:
        request = json.loads(line.get("request", ""))
        if not isinstance(request, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError):
        return {"jsonrpc": "2.0", "id": None, **refusal(-32700, "this is no request")}
    outcome = call(line["connection"], request)
    return {"jsonrpc": "2.0", "id": request["id"], **outcome} if "id" in request else None


for text in sys.stdin:
    line = json.loads(text)
    if "closed" in line:
        subscribers.discard(line["closed"])
    elif reply := answer(line):
        tell(id=line["id"], reply=json.dumps(reply))
    else:
        tell(id=line["id"])  # a notification gets no answer
