// Just enough sockets and HTTP for the demo's two services.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

[[noreturn]] inline void fail(const char *what) {
    std::perror(what);
    std::exit(1);
}

inline sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
}

// A listening socket on a port of the kernel's choice; prints the port, so that
// whoever started the service can find it.
inline int listen_and_say() {
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, reinterpret_cast<sockaddr *>(&address), length) != 0 || listen(fd, 128) != 0)
        fail("listen");
    getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length);
    std::printf("listening on %d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    return fd;
}

// Reads until `end` was seen; the text before it, or "" at the end of the stream.
inline std::string read_until(int fd, const std::string &end) {
    std::string text;
    char buffer[1024];
    while (text.find(end) == std::string::npos) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0)
            return "";
        text.append(buffer, static_cast<size_t>(got));
    }
    return text.substr(0, text.find(end));
}

inline void send_all(int fd, const std::string &text) {
    for (size_t sent = 0; sent < text.size();) {
        ssize_t now = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (now <= 0)
            return;
        sent += static_cast<size_t>(now);
    }
}

inline void send_page(int fd, const std::string &status, const std::string &body) {
    send_all(fd, "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
}
