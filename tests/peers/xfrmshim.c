// SPDX-License-Identifier: MIT OR Apache-2.0
//
// xfrmshim: an LD_PRELOAD library that lets an unmodified IKE daemon run on a kernel without ESP.
//
// The daemon asks the kernel to install SAs and policies, over NETLINK_XFRM or PF_KEY. The shim answers those requests
// itself with "done", so that the daemon goes on as if its tunnel were up, and writes every SA with its keys to
// the file named in $XFRMSHIM_LOG. This makes the daemon's key derivation an oracle for ours. No traffic ever flows.
//
// Log: one line per event, fields separated by one space, in this order where present:
//
//   add src=A dst=B spi=HEX8 proto=50 mode=tunnel|transport [encap=SPORT:DPORT] enc=NAME enc_key=HEX [icv=BITS]
//       [auth=NAME auth_key=HEX auth_bits=N]
//   update ...same fields...          an SA that was added before, with new addresses
//   delete spi=HEX8
//
// enc and auth use the kernel's names, such as cbc(aes), rfc4106(gcm(aes)) and hmac(sha256), on both interfaces.
//
// How a reply reaches the daemon: it polls the netlink socket, so the socket has to become readable. For each request
// answered here, the shim sends the kernel a NLMSG_NOOP with the same sequence number that asks for an acknowledgement.
// Where success alone is the answer, the kernel's acknowledgement is that answer; where data is wanted (ALLOCSPI, GETSA)
// the data waits here and replaces the acknowledgement when the daemon reads.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipsec.h>
#include <linux/netlink.h>
#include <linux/pfkeyv2.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef AF_KEY
#define AF_KEY 15
#endif
#define IP_IPSEC_POLICY_OPT 16
#define IPV6_IPSEC_POLICY_OPT 34

#define MAX_FD 4096
#define MAX_REQUEST 16384

// The C library's own function behind one that this file replaces.
#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

// ---------------------------------------------------------------------------------------------------------------- log

struct line {
    char text[4096];
    size_t len;
};

static void put(struct line *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, format, args);
    va_end(args);
    if (n > 0) l->len += (size_t)n < sizeof l->text - l->len ? (size_t)n : sizeof l->text - l->len - 1;
}

static void put_hex(struct line *l, const char *name, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    put(l, " %s=", name);
    for (size_t i = 0; i < n; i++) put(l, "%02x", p[i]);
}

static void put_addr(struct line *l, const char *name, int family, const void *a) {
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(family, a, text, sizeof text)) put(l, " %s=%s", name, text);
}

// One write per line: several threads append to one file.
static void emit(struct line *l) {
    const char *path = getenv("XFRMSHIM_LOG");
    if (!path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    put(l, "\n");
    ssize_t n = write(fd, l->text, l->len);
    (void)n;
    close(fd);
}

// ------------------------------------------------------------------------------------------------------- netlink: SAs

// Which descriptors are NETLINK_XFRM sockets, and the data waiting to be read from each.
static char is_xfrm_fd[MAX_FD];
static struct {
    void *bytes;
    size_t len;
} waiting[MAX_FD];

struct sa {
    struct xfrm_usersa_info info;
    int larval; // only its SPI was allocated so far
    struct sa *next;
};
static struct sa *sas;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_xfrm(int fd) { return fd >= 0 && fd < MAX_FD && is_xfrm_fd[fd]; }

static size_t addr_len(int family) { return family == AF_INET ? 4 : 16; }

static struct sa **find(const xfrm_address_t *dst, __be32 spi, int family) {
    struct sa **at = &sas;
    for (; *at; at = &(*at)->next) {
        struct xfrm_usersa_info *i = &(*at)->info;
        if (i->id.spi == spi && i->family == family && !memcmp(dst, &i->id.daddr, addr_len(family))) break;
    }
    return at;
}

// Returns 1 when a complete SA was there before.
static int remember(const struct xfrm_usersa_info *info, int larval) {
    struct sa **at = find(&info->id.daddr, info->id.spi, info->family);
    int known = *at && !(*at)->larval;
    if (!*at) *at = calloc(1, sizeof **at);
    if (!*at) abort();
    (*at)->info = *info;
    (*at)->larval = larval;
    return known;
}

static void forget(const struct xfrm_usersa_id *id) {
    struct sa **at = find(&id->daddr, id->spi, id->family);
    struct sa *gone = *at;
    if (!gone) return;
    *at = gone->next;
    free(gone);
}

// Attributes may arrive in any order; the log has a fixed one.
struct attrs {
    struct xfrm_algo_aead *aead;
    struct xfrm_algo *crypt, *auth;
    struct xfrm_algo_auth *auth_trunc;
    struct xfrm_encap_tmpl *encap;
};

static void log_sa(const char *what, struct nlmsghdr *h) {
    struct xfrm_usersa_info *s = NLMSG_DATA(h);
    struct attrs a = {0};
    struct nlattr *at = (struct nlattr *)((char *)s + NLMSG_ALIGN(sizeof *s));
    int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof *s);
    while (left >= (int)sizeof *at && at->nla_len >= sizeof *at && at->nla_len <= left) {
        void *value = at + 1;
        switch (at->nla_type & NLA_TYPE_MASK) {
        case XFRMA_ALG_AEAD: a.aead = value; break;
        case XFRMA_ALG_CRYPT: a.crypt = value; break;
        case XFRMA_ALG_AUTH: a.auth = value; break;
        case XFRMA_ALG_AUTH_TRUNC: a.auth_trunc = value; break;
        case XFRMA_ENCAP: a.encap = value; break;
        }
        left -= NLA_ALIGN(at->nla_len);
        at = (struct nlattr *)((char *)at + NLA_ALIGN(at->nla_len));
    }
    struct line l = {.len = 0};
    put(&l, "%s", what);
    put_addr(&l, "src", s->family, &s->saddr);
    put_addr(&l, "dst", s->family, &s->id.daddr);
    put(&l, " spi=%08x proto=%d mode=%s", ntohl(s->id.spi), s->id.proto,
        s->mode == XFRM_MODE_TUNNEL ? "tunnel" : "transport");
    if (a.encap) put(&l, " encap=%u:%u", ntohs(a.encap->encap_sport), ntohs(a.encap->encap_dport));
    if (a.aead) {
        put(&l, " enc=%s", a.aead->alg_name);
        put_hex(&l, "enc_key", a.aead->alg_key, a.aead->alg_key_len / 8);
        put(&l, " icv=%u", a.aead->alg_icv_len);
    }
    if (a.crypt) {
        put(&l, " enc=%s", a.crypt->alg_name);
        put_hex(&l, "enc_key", a.crypt->alg_key, a.crypt->alg_key_len / 8);
    }
    // A daemon may send the integrity key twice, with and without the truncation; the one with it says more.
    if (a.auth_trunc) {
        put(&l, " auth=%s", a.auth_trunc->alg_name);
        put_hex(&l, "auth_key", a.auth_trunc->alg_key, a.auth_trunc->alg_key_len / 8);
        put(&l, " auth_bits=%u", a.auth_trunc->alg_trunc_len);
    } else if (a.auth) {
        put(&l, " auth=%s", a.auth->alg_name);
        put_hex(&l, "auth_key", a.auth->alg_key, a.auth->alg_key_len / 8);
    }
    emit(&l);
}

static unsigned random_between(unsigned low, unsigned high) {
    unsigned v;
    if (getrandom(&v, sizeof v, 0) != sizeof v) abort();
    return high > low ? low + v % (high - low) : low ? low : v | 0x1000;
}

// Makes the kernel acknowledge `h` although it never saw it.
static void acknowledge(int fd, const struct nlmsghdr *h) {
    REAL(sendto);
    struct nlmsghdr noop = *h;
    noop.nlmsg_len = sizeof noop;
    noop.nlmsg_type = NLMSG_NOOP;
    noop.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    real(fd, &noop, sizeof noop, 0, (struct sockaddr *)&kernel, sizeof kernel);
}

static void answer_with_sa(int fd, const struct nlmsghdr *h, const struct xfrm_usersa_info *info) {
    struct {
        struct nlmsghdr h;
        struct xfrm_usersa_info info;
    } *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->h = (struct nlmsghdr){.nlmsg_len = sizeof *m,
                             .nlmsg_type = XFRM_MSG_NEWSA,
                             .nlmsg_seq = h->nlmsg_seq,
                             .nlmsg_pid = h->nlmsg_pid};
    m->info = *info;
    free(waiting[fd].bytes);
    waiting[fd].bytes = m;
    waiting[fd].len = sizeof *m;
    acknowledge(fd, h);
}

// Answers one request. Returns 0 when the kernel has to see it.
static int handle(int fd, const void *request, size_t n) {
    struct nlmsghdr *h = (struct nlmsghdr *)request;
    if (n < sizeof *h || h->nlmsg_len > n) return 0;
    void *body = NLMSG_DATA(h);
    int ours = 1;
    pthread_mutex_lock(&lock);
    switch (h->nlmsg_type) {
    case XFRM_MSG_NEWSA:
    case XFRM_MSG_UPDSA:
        log_sa(remember(body, 0) ? "update" : "add", h);
        acknowledge(fd, h);
        break;
    case XFRM_MSG_DELSA: {
        struct xfrm_usersa_id *id = body;
        struct line l = {.len = 0};
        put(&l, "delete spi=%08x", ntohl(id->spi));
        emit(&l);
        forget(id);
        acknowledge(fd, h);
        break;
    }
    case XFRM_MSG_GETSA: {
        struct xfrm_usersa_id *id = body;
        struct sa *found = *find(&id->daddr, id->spi, id->family);
        if (found && !(h->nlmsg_flags & NLM_F_DUMP)) answer_with_sa(fd, h, &found->info);
        else ours = 0; // the kernel says "no such SA" better than we could
        break;
    }
    case XFRM_MSG_ALLOCSPI: {
        // Not left to the kernel: its larval SA would expire after 30 s and tell the daemon so.
        struct xfrm_userspi_info *u = body;
        struct xfrm_usersa_info info = u->info;
        info.id.spi = htonl(random_between(u->min, u->max));
        remember(&info, 1);
        answer_with_sa(fd, h, &info);
        break;
    }
    case XFRM_MSG_FLUSHSA:
    case XFRM_MSG_FLUSHPOLICY:
    case XFRM_MSG_NEWPOLICY:
    case XFRM_MSG_UPDPOLICY:
    case XFRM_MSG_DELPOLICY:
    case XFRM_MSG_NEWAE:
    case XFRM_MSG_MIGRATE:
        acknowledge(fd, h);
        break;
    default:
        ours = 0;
    }
    pthread_mutex_unlock(&lock);
    return ours;
}

static size_t gather(char *to, size_t room, const struct iovec *parts, int count) {
    size_t n = 0;
    for (int i = 0; i < count; i++) {
        size_t k = parts[i].iov_len < room - n ? parts[i].iov_len : room - n;
        memcpy(to + n, parts[i].iov_base, k);
        n += k;
    }
    return n;
}

// Hands out data that waits for `fd`, in place of the kernel's acknowledgement. Returns -1 when none waits.
static ssize_t take(int fd, void *to, size_t room, int flags, struct sockaddr *from, socklen_t *from_len) {
    REAL(recvfrom);
    pthread_mutex_lock(&lock);
    void *bytes = waiting[fd].bytes;
    size_t len = waiting[fd].len;
    if (bytes && !(flags & MSG_PEEK)) waiting[fd].bytes = NULL;
    pthread_mutex_unlock(&lock);
    if (!bytes) return -1;
    size_t n = len < room ? len : room;
    memcpy(to, bytes, n);
    if (from && from_len) {
        struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
        memcpy(from, &kernel, *from_len < sizeof kernel ? *from_len : sizeof kernel);
        *from_len = sizeof kernel;
    }
    if (flags & MSG_PEEK) return flags & MSG_TRUNC ? (ssize_t)len : (ssize_t)n;
    char replaced[256];
    real(fd, replaced, sizeof replaced, 0, NULL, NULL);
    free(bytes);
    return n;
}

// ------------------------------------------------------------------------------------------------------------- PF_KEY

// A PF_KEY socket becomes one end of a socket pair; a thread plays the kernel at the other end.

static const char *pfkey_enc(int number) {
    switch (number) {
    case SADB_EALG_3DESCBC: return "cbc(des3_ede)";
    case SADB_X_EALG_AESCBC: return "cbc(aes)";
    case SADB_X_EALG_AESCTR: return "rfc3686(ctr(aes))";
    case SADB_X_EALG_AES_GCM_ICV16: return "rfc4106(gcm(aes))";
    default: return "unknown";
    }
}

static const char *pfkey_auth(int number) {
    switch (number) {
    case SADB_AALG_MD5HMAC: return "hmac(md5)";
    case SADB_AALG_SHA1HMAC: return "hmac(sha1)";
    case SADB_X_AALG_SHA2_256HMAC: return "hmac(sha256)";
    case SADB_X_AALG_SHA2_384HMAC: return "hmac(sha384)";
    case SADB_X_AALG_SHA2_512HMAC: return "hmac(sha512)";
    default: return "unknown";
    }
}

static void put_pfkey_addr(struct line *l, const char *name, struct sadb_address *a) {
    if (!a) return;
    struct sockaddr *s = (struct sockaddr *)(a + 1);
    if (s->sa_family == AF_INET) put_addr(l, name, AF_INET, &((struct sockaddr_in *)s)->sin_addr);
    if (s->sa_family == AF_INET6) put_addr(l, name, AF_INET6, &((struct sockaddr_in6 *)s)->sin6_addr);
}

static void log_pfkey(const char *what, struct sadb_msg *m) {
    struct sadb_ext *ext[SADB_EXT_MAX + 1] = {0};
    char *at = (char *)(m + 1), *end = (char *)m + m->sadb_msg_len * 8;
    while (at + sizeof(struct sadb_ext) <= end) {
        struct sadb_ext *x = (struct sadb_ext *)at;
        size_t len = x->sadb_ext_len * 8;
        if (len < 8 || at + len > end) break;
        if (x->sadb_ext_type <= SADB_EXT_MAX) ext[x->sadb_ext_type] = x;
        at += len;
    }
    struct sadb_sa *sa = (struct sadb_sa *)ext[SADB_EXT_SA];
    if (!sa) return;
    struct line l = {.len = 0};
    put(&l, "%s", what);
    if (m->sadb_msg_type == SADB_DELETE) {
        put(&l, " spi=%08x", ntohl(sa->sadb_sa_spi));
        emit(&l);
        return;
    }
    struct sadb_x_sa2 *mode = (struct sadb_x_sa2 *)ext[SADB_X_EXT_SA2];
    put_pfkey_addr(&l, "src", (struct sadb_address *)ext[SADB_EXT_ADDRESS_SRC]);
    put_pfkey_addr(&l, "dst", (struct sadb_address *)ext[SADB_EXT_ADDRESS_DST]);
    put(&l, " spi=%08x proto=%d mode=%s", ntohl(sa->sadb_sa_spi), m->sadb_msg_satype == SADB_SATYPE_ESP ? 50 : 51,
        mode && mode->sadb_x_sa2_mode == IPSEC_MODE_TRANSPORT ? "transport" : "tunnel");
    struct sadb_key *key = (struct sadb_key *)ext[SADB_EXT_KEY_ENCRYPT];
    if (key) {
        put(&l, " enc=%s", pfkey_enc(sa->sadb_sa_encrypt));
        put_hex(&l, "enc_key", key + 1, key->sadb_key_bits / 8);
    }
    key = (struct sadb_key *)ext[SADB_EXT_KEY_AUTH];
    if (key) {
        put(&l, " auth=%s", pfkey_auth(sa->sadb_sa_auth));
        put_hex(&l, "auth_key", key + 1, key->sadb_key_bits / 8);
    }
    emit(&l);
}

static void *pfkey_kernel(void *arg) {
    REAL(recv);
    static __typeof__(&send) real_send;
    if (!real_send) real_send = (__typeof__(&send))dlsym(RTLD_NEXT, "send");
    int fd = (int)(long)arg;
    static _Alignas(8) char in[MAX_REQUEST], out[256];
    for (;;) {
        ssize_t n = real(fd, in, sizeof in, 0);
        if (n <= 0) return NULL;
        struct sadb_msg *m = (struct sadb_msg *)in, *o = (struct sadb_msg *)out;
        if ((size_t)n < sizeof *m || m->sadb_msg_len * 8 > n) continue;
        *o = *m;
        o->sadb_msg_errno = 0;
        size_t len = sizeof *o;
        switch (m->sadb_msg_type) {
        case SADB_GETSPI: {
            struct sadb_sa sa = {.sadb_sa_len = sizeof sa / 8, .sadb_sa_exttype = SADB_EXT_SA};
            sa.sadb_sa_spi = htonl(random_between(0x1000, 0xf0000000));
            memcpy(out + len, &sa, sizeof sa);
            len += sizeof sa;
            break;
        }
        case SADB_GET: {
            struct sadb_lifetime l = {.sadb_lifetime_len = sizeof l / 8, .sadb_lifetime_exttype = SADB_EXT_LIFETIME_CURRENT};
            memcpy(out + len, &l, sizeof l);
            len += sizeof l;
            break;
        }
        case SADB_ADD:
        case SADB_UPDATE: log_pfkey("add", m); break; // an update completes the SA whose SPI was allocated
        case SADB_DELETE: log_pfkey("delete", m); break;
        }
        o->sadb_msg_len = len / 8;
        real_send(fd, out, len, MSG_NOSIGNAL);
    }
}

// -------------------------------------------------------------------------------------------------- replaced functions

int socket(int domain, int type, int protocol) {
    REAL(socket);
    if (domain == AF_KEY) {
        int pair[2];
        pthread_t thread;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) return -1;
        if (pthread_create(&thread, NULL, pfkey_kernel, (void *)(long)pair[1])) return -1;
        pthread_detach(thread);
        return pair[0];
    }
    int fd = real(domain, type, protocol);
    if (fd >= 0 && fd < MAX_FD) {
        is_xfrm_fd[fd] = domain == AF_NETLINK && protocol == NETLINK_XFRM;
        free(waiting[fd].bytes);
        waiting[fd].bytes = NULL;
    }
    return fd;
}

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < MAX_FD) is_xfrm_fd[fd] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *b, size_t n) {
    REAL(write);
    return is_xfrm(fd) && handle(fd, b, n) ? (ssize_t)n : real(fd, b, n);
}

ssize_t send(int fd, const void *b, size_t n, int flags) {
    REAL(send);
    return is_xfrm(fd) && handle(fd, b, n) ? (ssize_t)n : real(fd, b, n, flags);
}

ssize_t sendto(int fd, const void *b, size_t n, int flags, const struct sockaddr *to, socklen_t to_len) {
    REAL(sendto);
    return is_xfrm(fd) && handle(fd, b, n) ? (ssize_t)n : real(fd, b, n, flags, to, to_len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
    REAL(sendmsg);
    if (is_xfrm(fd)) {
        _Alignas(8) char request[MAX_REQUEST];
        size_t n = gather(request, sizeof request, m->msg_iov, (int)m->msg_iovlen);
        if (handle(fd, request, n)) return n;
    }
    return real(fd, m, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (is_xfrm(fd)) {
        _Alignas(8) char request[MAX_REQUEST];
        size_t n = gather(request, sizeof request, parts, count);
        if (handle(fd, request, n)) return n;
    }
    return real(fd, parts, count);
}

ssize_t recvfrom(int fd, void *b, size_t n, int flags, struct sockaddr *from, socklen_t *from_len) {
    REAL(recvfrom);
    ssize_t k = is_xfrm(fd) ? take(fd, b, n, flags, from, from_len) : -1;
    return k >= 0 ? k : real(fd, b, n, flags, from, from_len);
}

ssize_t recv(int fd, void *b, size_t n, int flags) {
    REAL(recv);
    ssize_t k = is_xfrm(fd) ? take(fd, b, n, flags, NULL, NULL) : -1;
    return k >= 0 ? k : real(fd, b, n, flags);
}

ssize_t read(int fd, void *b, size_t n) {
    REAL(read);
    ssize_t k = is_xfrm(fd) ? take(fd, b, n, 0, NULL, NULL) : -1;
    return k >= 0 ? k : real(fd, b, n);
}

// What a daemon compiled with _FORTIFY_SOURCE calls instead.
ssize_t __recvfrom_chk(int fd, void *b, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *from_len);
ssize_t __recvfrom_chk(int fd, void *b, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *from_len) {
    if (n > room) abort();
    return recvfrom(fd, b, n, flags, from, from_len);
}

ssize_t __recv_chk(int fd, void *b, size_t n, size_t room, int flags);
ssize_t __recv_chk(int fd, void *b, size_t n, size_t room, int flags) {
    if (n > room) abort();
    return recv(fd, b, n, flags);
}

ssize_t __read_chk(int fd, void *b, size_t n, size_t room);
ssize_t __read_chk(int fd, void *b, size_t n, size_t room) {
    if (n > room) abort();
    return read(fd, b, n);
}

// OpenIKED asks for its own IKE packets to bypass IPsec and gives up when the kernel has no such option.
int setsockopt(int fd, int level, int option, const void *value, socklen_t len) {
    REAL(setsockopt);
    if (level == IPPROTO_IP && option == IP_IPSEC_POLICY_OPT) return 0;
    if (level == IPPROTO_IPV6 && option == IPV6_IPSEC_POLICY_OPT) return 0;
    return real(fd, level, option, value, len);
}
