"""Servers of the Flows listen on the loopback interface only, whatever they are told."""
import socket

_bind = socket.socket.bind


def bind(self, address):
    if isinstance(address, tuple) and address[0] in ('', '0.0.0.0', '::'):
        address = ('127.0.0.1', *address[1:])
    return _bind(self, address)


socket.socket.bind = bind
