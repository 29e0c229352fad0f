/*
 * floor: what a machine asks for at least. A WebSocket server on epoll, in one
 * thread, without libraries, that does nothing but the work that every server
 * of this kind has to do: accept the upgrade, take the frames apart, and send
 * each message to all connections of the room that their URL named.
 *
 *	GET /floor?room=NAME	in the room NAME; a message goes to all of the room,
 *				its sender included, as it came, unmasked
 *	GET /echo		each message back, with its opcode
 *
 *	floor one PORT		each message is sent to each member by itself
 *	floor batch PORT	messages that wait for a room go out together, in
 *				one write for each member
 *
 * It keeps nothing, checks little and bounds little: it is a yardstick, not a
 * server. It listens on 127.0.0.1 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAX_EVENTS = 512,
	READ_BUFFER = 256 << 10,
	MAX_FRAME = 17 << 20,
	MAX_PENDING = 64 << 20, /* what a connection that does not read may hold */
	MAX_NAME = 256,
};

/* A buffer that grows. */
struct buffer {
	unsigned char *bytes;
	size_t length, capacity;
};

struct conn {
	int fd;
	int upgraded;
	struct room *room; /* NULL for an echo */
	size_t place;	   /* among the room's members */
	struct buffer in;  /* the beginning of a frame whose rest has not come */
	struct buffer out; /* what the socket did not take */
};

struct room {
	char name[MAX_NAME];
	struct room *next, *next_waiting;
	int waits; /* in the list of rooms with messages to send */
	struct conn **members;
	size_t count, capacity;
	struct buffer frames; /* batch: what waits */
};

static int batch, epoll_fd;
static struct room *rooms[4096], *waiting;
static struct buffer replies; /* of one read, empty between two */
static unsigned char *scratch;
static size_t scratch_size;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *must(void *memory)
{
	if (memory == NULL)
		die("floor: out of memory");
	return memory;
}

static void append(struct buffer *b, const void *bytes, size_t n)
{
	if (b->length + n > b->capacity) {
		b->capacity = 2 * b->capacity + n;
		b->bytes = must(realloc(b->bytes, b->capacity));
	}
	memcpy(b->bytes + b->length, bytes, n);
	b->length += n;
}

static void empty(struct buffer *b)
{
	free(b->bytes);
	memset(b, 0, sizeof *b);
}

/* SHA-1 (RFC 3174) of a text that fits two blocks, which is all that the
 * handshake needs. */
static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const char *text, size_t n, unsigned char digest[20])
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	unsigned char block[128] = {0};
	size_t total = n + 9 > 64 ? 128 : 64;

	memcpy(block, text, n);
	block[n] = 0x80;
	block[total - 2] = (unsigned char)(n * 8 >> 8);
	block[total - 1] = (unsigned char)(n * 8);
	for (size_t at = 0; at < total; at += 64) {
		uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

		for (int i = 0; i < 16; i++)
			w[i] = (uint32_t)block[at + 4 * i] << 24 | (uint32_t)block[at + 4 * i + 1] << 16 |
			       (uint32_t)block[at + 4 * i + 2] << 8 | block[at + 4 * i + 3];
		for (int i = 16; i < 80; i++)
			w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
		for (int i = 0; i < 80; i++) {
			uint32_t f, k, t;

			if (i < 20)
				f = (b & c) | (~b & d), k = 0x5a827999;
			else if (i < 40)
				f = b ^ c ^ d, k = 0x6ed9eba1;
			else if (i < 60)
				f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
			else
				f = b ^ c ^ d, k = 0xca62c1d6;
			t = rotate(a, 5) + f + e + k + w[i];
			e = d, d = c, c = rotate(b, 30), b = a, a = t;
		}
		h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
	}
	for (int i = 0; i < 20; i++)
		digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* The value of Sec-WebSocket-Accept (RFC 6455, section 4.2.2): 28 characters. */
static void accept_value(const char *key, size_t n, char value[29])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[64 + sizeof guid];
	unsigned char digest[21] = {0};

	memcpy(text, key, n);
	memcpy(text + n, guid, sizeof guid - 1);
	sha1(text, n + sizeof guid - 1, digest);
	for (int i = 0; i < 7; i++) {
		uint32_t three = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];

		for (int j = 0; j < 4; j++)
			value[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
	}
	value[27] = '=';
	value[28] = 0;
}

static struct room *find_room(const char *name)
{
	uint32_t hash = 2166136261u;
	struct room **slot, *r;

	for (const char *c = name; *c != 0; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	slot = &rooms[hash % (sizeof rooms / sizeof *rooms)];
	for (r = *slot; r != NULL; r = r->next)
		if (strcmp(r->name, name) == 0)
			return r;
	r = must(calloc(1, sizeof *r));
	strcpy(r->name, name);
	r->next = *slot;
	return *slot = r;
}

static void enter(struct conn *c, struct room *r)
{
	if (r->count == r->capacity) {
		r->capacity = 2 * r->capacity + 4;
		r->members = must(realloc(r->members, r->capacity * sizeof *r->members));
	}
	c->room = r;
	c->place = r->count;
	r->members[r->count++] = c;
}

/* Hangs up. The connection is freed when its own event is handled, so that
 * nothing that is being worked on goes away. */
static void hang_up(struct conn *c)
{
	shutdown(c->fd, SHUT_RDWR);
}

static void release(struct conn *c)
{
	if (c->room != NULL) {
		struct conn *last = c->room->members[--c->room->count];

		c->room->members[c->place] = last;
		last->place = c->place;
	}
	close(c->fd);
	empty(&c->in);
	empty(&c->out);
	free(c);
}

static void interest(struct conn *c, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0)
		die("floor: epoll_ctl");
}

static void transmit(struct conn *c, const unsigned char *bytes, size_t n)
{
	if (c->out.length == 0) {
		ssize_t sent = send(c->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent == (ssize_t)n)
			return;
		if (sent < 0 && errno != EAGAIN)
			return; /* its own event ends it */
		if (sent > 0)
			bytes += sent, n -= (size_t)sent;
		interest(c, EPOLLIN | EPOLLOUT);
	}
	if (c->out.length + n > MAX_PENDING)
		hang_up(c);
	else
		append(&c->out, bytes, n);
}

static void writable(struct conn *c)
{
	ssize_t sent = send(c->fd, c->out.bytes, c->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return;
	c->out.length -= (size_t)sent;
	memmove(c->out.bytes, c->out.bytes + sent, c->out.length);
	if (c->out.length == 0) {
		empty(&c->out);
		interest(c, EPOLLIN);
	}
}

static size_t frame_header(unsigned char *h, int opcode, size_t n)
{
	h[0] = (unsigned char)(0x80 | opcode);
	if (n <= 125) {
		h[1] = (unsigned char)n;
		return 2;
	}
	if (n <= 0xffff) {
		h[1] = 126;
		h[2] = (unsigned char)(n >> 8);
		h[3] = (unsigned char)n;
		return 4;
	}
	h[1] = 127;
	for (int i = 0; i < 8; i++)
		h[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
	return 10;
}

static void to_room(struct room *r)
{
	for (size_t i = 0; i < r->count; i++)
		transmit(r->members[i], r->frames.bytes, r->frames.length);
	r->frames.length = 0;
}

/* Handles a message. What its sender alone gets is gathered in replies. Before
 * the payload there is room for a header: the client's, which is longer. */
static void message(struct conn *c, int opcode, unsigned char *payload, size_t n)
{
	struct buffer *to = c->room != NULL && opcode < 8 ? &c->room->frames : &replies;
	unsigned char header[10];
	size_t length = frame_header(header, opcode == 9 ? 10 : opcode, n);

	memcpy(payload - length, header, length);
	append(to, payload - length, length + n);
	if (to == &replies)
		return;
	if (!batch) {
		to_room(c->room);
	} else if (!c->room->waits) {
		c->room->waits = 1;
		c->room->next_waiting = waiting;
		waiting = c->room;
	}
}

static void unmask(unsigned char *b, size_t n, const unsigned char mask[4])
{
	uint64_t twice, eight;
	size_t i = 0;

	memcpy(&twice, mask, 4);
	memcpy((unsigned char *)&twice + 4, mask, 4);
	for (; i + 8 <= n; i += 8) {
		memcpy(&eight, b + i, 8);
		eight ^= twice;
		memcpy(b + i, &eight, 8);
	}
	for (; i < n; i++)
		b[i] ^= mask[i & 3];
}

/* Takes one frame off the beginning of b. Returns its size, 0 where it is not
 * complete, -1 where it is none that a client may send here. */
static ssize_t frame(struct conn *c, unsigned char *b, size_t n)
{
	size_t header = 2;
	uint64_t length;
	int opcode;
	unsigned char *mask;

	if (n < 2)
		return 0;
	opcode = b[0] & 15;
	if (!(b[0] & 0x80) || (b[0] & 0x70) || !(b[1] & 0x80) || opcode == 0)
		return -1;
	length = b[1] & 127;
	if (length == 126) {
		if (n < 4)
			return 0;
		length = (uint64_t)b[2] << 8 | b[3];
		header = 4;
	} else if (length == 127) {
		if (n < 10)
			return 0;
		length = 0;
		for (int i = 0; i < 8; i++)
			length = length << 8 | b[2 + i];
		header = 10;
	}
	if (length > MAX_FRAME)
		return -1;
	if (n < header + 4 + length)
		return 0;
	mask = b + header;
	header += 4;
	unmask(b + header, length, mask);
	if (opcode == 8)
		return -1;
	if (opcode != 10)
		message(c, opcode, b + header, length);
	return (ssize_t)(header + length);
}

/* Finds a header's value in a head whose end is marked with a 0. The name has its
 * colon and a space. */
static char *header_value(char *head, const char *name, size_t n)
{
	for (char *line = strchr(head, '\n'); line != NULL; line = strchr(line, '\n'))
		if (strncasecmp(++line, name, n) == 0)
			return line + n;
	return NULL;
}

/* Answers the upgrade. Returns as frame does. */
static ssize_t upgrade(struct conn *c, unsigned char *b, size_t n)
{
	static const char room[] = "GET /floor?room=", echo[] = "GET /echo ", key[] = "Sec-WebSocket-Key: ";
	static const char before[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				     "Sec-WebSocket-Accept: ";
	unsigned char *end = memmem(b, n, "\r\n\r\n", 4);
	char *value, answer[sizeof before + 32];
	size_t value_length;

	if (end == NULL)
		return n > 8192 ? -1 : 0;
	*end = 0;
	value = header_value((char *)b, key, sizeof key - 1);
	if (value == NULL)
		return -1;
	value_length = strcspn(value, "\r");
	if (value_length > 64)
		return -1;
	memcpy(answer, before, sizeof before - 1);
	accept_value(value, value_length, answer + sizeof before - 1);
	memcpy(answer + sizeof before - 1 + 28, "\r\n\r\n", 4);
	if (strncmp((char *)b, room, sizeof room - 1) == 0) {
		char name[MAX_NAME];
		size_t length = strcspn((char *)b + sizeof room - 1, " &\r");

		if (length == 0 || length >= sizeof name)
			return -1;
		memcpy(name, b + sizeof room - 1, length);
		name[length] = 0;
		enter(c, find_room(name));
	} else if (strncmp((char *)b, echo, sizeof echo - 1) != 0) {
		return -1;
	}
	c->upgraded = 1;
	transmit(c, (unsigned char *)answer, sizeof before - 1 + 28 + 4);
	return end + 4 - b;
}

/* Reads what is there and handles it. Returns 0 where the connection is over. */
static int readable(struct conn *c)
{
	size_t have = c->in.length, used = 0;
	ssize_t n, size;

	if (scratch_size < have + READ_BUFFER) {
		scratch_size = have + READ_BUFFER;
		scratch = must(realloc(scratch, scratch_size));
	}
	if (have > 0)
		memcpy(scratch, c->in.bytes, have);
	n = recv(c->fd, scratch + have, READ_BUFFER, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	have += (size_t)n;
	do {
		size = c->upgraded ? frame(c, scratch + used, have - used) : upgrade(c, scratch + used, have - used);
		if (size > 0)
			used += (size_t)size;
	} while (size > 0 && used < have);
	if (replies.length > 0)
		transmit(c, replies.bytes, replies.length);
	replies.length = 0;
	c->in.length = 0;
	if (used < have)
		append(&c->in, scratch + used, have - used);
	else if (c->in.capacity > 0)
		empty(&c->in);
	return size >= 0;
}

static void accept_all(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;
		struct epoll_event event = {.events = EPOLLIN};

		if (fd < 0) {
			if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
				die("floor: accept");
			return;
		}
		c = must(calloc(1, sizeof *c));
		c->fd = fd;
		event.data.ptr = c;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
			die("floor: epoll_ctl");
	}
}

static int listen_on(int port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;

	if (fd < 0)
		die("floor: socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* what is accepted has it, too */
	if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		die("floor: listen");
	printf("floor is ready: http://127.0.0.1:%d/\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct epoll_event event = {.events = EPOLLIN}, events[MAX_EVENTS];
	int listener;

	if (argc != 3 || (strcmp(argv[1], "one") != 0 && strcmp(argv[1], "batch") != 0)) {
		fprintf(stderr, "usage: floor one|batch PORT\n");
		return 64;
	}
	batch = strcmp(argv[1], "batch") == 0;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	listener = listen_on(atoi(argv[2]));
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) != 0)
		die("floor: epoll");
	for (;;) {
		int n = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);

		if (n < 0 && errno != EINTR)
			die("floor: epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c == NULL) {
				accept_all(listener);
				continue;
			}
			if (events[i].events & EPOLLERR) { /* it was reset */
				release(c);
				continue;
			}
			if (events[i].events & EPOLLOUT && c->out.length > 0)
				writable(c);
			if (events[i].events & ~(uint32_t)EPOLLOUT && !readable(c))
				release(c);
		}
		while (waiting != NULL) {
			struct room *r = waiting;

			waiting = r->next_waiting;
			r->waits = 0;
			to_room(r);
		}
	}
}
