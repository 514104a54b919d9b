/* Socket families that reach the kernel's rarer code, or the host (20, 21). */
#include <netinet/in.h>
#include <sys/socket.h>

#include "attack.h"

static int opens(const char *what, int family, int type, int protocol)
{
    return by_result(what, socket(family, type | SOCK_CLOEXEC, protocol));
}

static int vsock(void)
{
    return opens("AF_VSOCK", 40, SOCK_STREAM, 0);
}

/* The family is an int: a filter that compares 64 bits sees another number. */
static int vsock_high_bits(void)
{
    return by_result("AF_VSOCK with a high bit",
                     syscall(SYS_socket, 1ul << 32 | 40, SOCK_STREAM, 0));
}

static int vsock_pair(void)
{
    int pair[2];
    int done = socketpair(40, SOCK_STREAM, 0, pair);
    if (done < 0 && errno == EOPNOTSUPP)
        return succeeded("AF_VSOCK was made by socketpair (EOPNOTSUPP)");
    return by_result("socketpair of AF_VSOCK", done);
}

static int packet(void)
{
    return opens("AF_PACKET", AF_PACKET, SOCK_RAW, 0);
}

static int raw4(void)
{
    return opens("raw AF_INET", AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int raw6(void)
{
    return opens("raw AF_INET6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}

static int alg(void)
{
    return opens("AF_ALG", 38, SOCK_SEQPACKET, 0);
}

static int xdp(void)
{
    return opens("AF_XDP", 44, SOCK_RAW, 0);
}

static int netlink_rare(void)
{
    /* Everything but ROUTE: sock_diag, xfrm, audit, netfilter, uevents, generic, … */
    static const int protocols[] = {4, 6, 9, 12, 15, 16, 21, 11, 10, 18, 19, 20};
    for (size_t i = 0; i < COUNT(protocols); i++)
        if (socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocols[i]) >= 0)
            return succeeded("netlink protocol %d", protocols[i]);
    return blocked("AF_NETLINK");
}

static int netlink_diag(void)
{
    return opens("NETLINK_SOCK_DIAG", AF_NETLINK, SOCK_RAW, 4);
}

static int netlink_netfilter(void)
{
    return opens("NETLINK_NETFILTER", AF_NETLINK, SOCK_RAW, 12);
}

static int exotic_families(void)
{
    /* Everything but UNIX, INET, INET6 and NETLINK. */
    for (int family = 3; family < 46; family++) {
        if (family == AF_INET6 || family == AF_NETLINK)
            continue;
        static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
        for (size_t i = 0; i < COUNT(types); i++)
            if (socket(family, types[i] | SOCK_CLOEXEC, 0) >= 0)
                return succeeded("family %d, type %d", family, types[i]);
    }
    return blocked("socket");
}

static int rare_protocols(void)
{
    /* SCTP, DCCP, UDP-Lite, MPTCP, L2TP: reached from a common family. */
    static const struct {
        int type, protocol;
    } rare[] = {{SOCK_STREAM, 132}, {SOCK_SEQPACKET, 132}, {6, 33},
                {SOCK_DGRAM, 136},  {SOCK_STREAM, 262},    {SOCK_DGRAM, 115}};
    for (size_t i = 0; i < COUNT(rare); i++)
        if (socket(AF_INET, rare[i].type | SOCK_CLOEXEC, rare[i].protocol) >= 0)
            return succeeded("protocol %d", rare[i].protocol);
    return blocked("socket");
}

static int vsock_device(void)
{
    static const char *const paths[] = {"/dev/vsock", "/dev/vhost-vsock", NULL};
    return any_opens(paths, O_RDONLY);
}

const struct attack socket_attacks[] = {
    {"vsock", vsock},
    {"vsock_high_bits", vsock_high_bits},
    {"vsock_pair", vsock_pair},
    {"vsock_device", vsock_device},
    {"packet", packet},
    {"raw4", raw4},
    {"raw6", raw6},
    {"alg", alg},
    {"xdp", xdp},
    {"netlink_rare", netlink_rare},
    {"netlink_diag", netlink_diag},
    {"netlink_netfilter", netlink_netfilter},
    {"exotic_families", exotic_families},
    {"rare_protocols", rare_protocols},
    {NULL, NULL},
};
