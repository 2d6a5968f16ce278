#include "mmline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t crc32(const char *p, size_t n)
{
	uint32_t c = 0xffffffffu;
	while (n--) {
		c ^= (uint8_t)*p++;
		for (int i = 0; i < 8; i++)
			c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
	}
	return ~c;
}

static void hex(char *out, const uint8_t *in, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", in[i]);
}

static int unhex(uint8_t *out, const char *in, size_t n)
{
	unsigned b;
	if (strlen(in) != 2 * n || strspn(in, "0123456789abcdef") != 2 * n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		sscanf(in + 2 * i, "%2x", &b);
		out[i] = (uint8_t)b;
	}
	return 0;
}

static void base64(char *out, const uint8_t *in, size_t n)
{
	for (; n > 0; in += 3) {
		uint32_t v = (uint32_t)in[0] << 16 | (n > 1 ? in[1] : 0) << 8 | (n > 2 ? in[2] : 0);
		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = n > 1 ? digits[v >> 6 & 63] : '=';
		*out++ = n > 2 ? digits[v & 63] : '=';
		n -= n > 2 ? 3 : n;
	}
	*out = 0;
}

/* unbase64 returns how many bytes there are, or -1. */
static int unbase64(uint8_t *out, size_t room, const char *in)
{
	size_t n = strlen(in), have = 0;
	if (n == 0 || n % 4)
		return -1;
	for (size_t i = 0; i < n; i += 4) {
		uint32_t v = 0;
		int pad = 0;
		for (int k = 0; k < 4; k++) {
			const char *at = in[i + k] ? strchr(digits, in[i + k]) : NULL;
			if (in[i + k] == '=' && i + 4 == n && k > 1) {
				pad++;
				v <<= 6;
			} else if (at && !pad) {
				v = v << 6 | (uint32_t)(at - digits);
			} else {
				return -1;
			}
		}
		for (int k = 0; k < 3 - pad; k++) {
			if (have == room)
				return -1;
			out[have++] = (uint8_t)(v >> (16 - 8 * k));
		}
	}
	return (int)have;
}

static int number(const char *s, size_t *out)
{
	char *end;
	if (*s < '0' || *s > '9' || strlen(s) > 7)
		return -1;
	*out = strtoul(s, &end, 10);
	return *end ? -1 : 0;
}

/* ready makes what stands in the buffer to be read: OK, length, SHA-256. */
static void ready(struct mm *m, const char *name, char *out)
{
	uint8_t sum[32];
	char text[65];
	if (m->board->sha256(m->body, m->len, sum)) {
		strcpy(out, "ERR fail hash");
		return;
	}
	strcpy(m->name, name);
	m->writing = 0;
	hex(text, sum, 32);
	sprintf(out, "OK %u %s", (unsigned)m->len, text);
}

static void proof(struct mm *m, char **w, char *out)
{
	static const char context[] = "mintmark station proof 1"; /* signed with its final zero */
	uint8_t text[sizeof context + 64], *sum = text + sizeof context + 32;
	size_t n;
	if (strcmp(w[2], m->board->id)) {
		strcpy(out, "ERR id");
		return;
	}
	memcpy(text, context, sizeof context);
	if (unhex(text + sizeof context, w[1], 32)) {
		strcpy(out, "ERR bad");
		return;
	}
	if (m->board->leaf(sum)) {
		strcpy(out, "ERR none");
		return;
	}
	if (m->board->sign(text, sizeof text, m->body + 32, sizeof m->body - 32, &n)) {
		strcpy(out, "ERR fail signature");
		return;
	}
	memcpy(m->body, sum, 32);
	m->len = 32 + n;
	ready(m, "proof", out);
}

static void get(struct mm *m, char **w, char *out)
{
	size_t at, n;
	char text[400];
	if (m->writing || strcmp(m->name, w[1]) || number(w[2], &at) || number(w[3], &n) || at >= m->len) {
		strcpy(out, "ERR gone");
		return;
	}
	if (n > 282)
		n = 282;
	if (n > m->len - at)
		n = m->len - at;
	base64(text, m->body + at, n);
	sprintf(out, "OK %u %s", (unsigned)at, text);
}

static void put(struct mm *m, char **w, char *out)
{
	uint8_t data[384];
	size_t at;
	int n = unbase64(data, sizeof data, w[3]);
	if (n < 0 || number(w[2], &at) || strlen(w[1]) >= sizeof m->name) {
		strcpy(out, "ERR bad");
		return;
	}
	if (at == 0) { /* a transfer begins anew */
		strcpy(m->name, w[1]);
		m->writing = 1;
		m->len = 0;
	}
	if (!m->writing || strcmp(m->name, w[1]) || at > m->len) {
		sprintf(out, "ERR offset %u", m->writing ? (unsigned)m->len : 0u);
		return;
	}
	if (at + (size_t)n > sizeof m->body) {
		strcpy(out, "ERR full");
		return;
	}
	if (at + (size_t)n > m->len) { /* otherwise a repeated line */
		memcpy(m->body + at, data, (size_t)n);
		m->len = at + (size_t)n;
	}
	sprintf(out, "OK %u", (unsigned)(at + (size_t)n));
}

static void set(struct mm *m, char **w, char *out)
{
	uint8_t want[32], sum[32];
	size_t len;
	int stored;
	if (number(w[2], &len) || unhex(want, w[3], 32)) {
		strcpy(out, "ERR bad");
	} else if (strcmp(w[4], m->board->id)) {
		strcpy(out, "ERR id");
	} else if (!m->writing || strcmp(m->name, w[1])) {
		strcpy(out, "ERR offset 0");
	} else if (len != m->len || m->board->sha256(m->body, m->len, sum) || memcmp(sum, want, 32)) {
		strcpy(out, "ERR sum");
	} else {
		stored = m->board->store(m->name, m->body, m->len);
		strcpy(out, stored == 0 ? "OK" : stored == -2 ? "ERR key not for the key of this board" : "ERR fail");
	}
}

static void command(struct mm *m, char **w, int n, char *out)
{
	if (n == 1 && !strcmp(w[0], "HELLO")) {
		sprintf(out, "OK id=%.64s can=csr,proof,roots data=240", m->board->id);
	} else if (n == 1 && !strcmp(w[0], "CSR")) {
		m->name[0] = 0;
		if (m->board->csr(m->body, sizeof m->body, &m->len))
			strcpy(out, "ERR fail request");
		else
			ready(m, "csr", out);
	} else if (n == 3 && !strcmp(w[0], "PROOF")) {
		proof(m, w, out);
	} else if (n == 4 && !strcmp(w[0], "GET")) {
		get(m, w, out);
	} else if (n == 4 && !strcmp(w[0], "PUT")) {
		put(m, w, out);
	} else if (n == 5 && !strcmp(w[0], "SET")) {
		set(m, w, out);
	} else {
		strcpy(out, "ERR bad");
	}
}

/* line answers a whole line; 0 for what is none of ours. */
static size_t line(struct mm *m, char *answer)
{
	char *at = NULL, *w[6], text[MM_LINE];
	size_t n;
	uint32_t sum;
	int words = 0;
	m->line[m->have] = 0;
	for (char *p = m->line; (p = strstr(p, "MM1 ")); p++)
		at = p;
	if (!at || memchr(m->line, 0, m->have))
		return 0;
	n = strlen(at);
	if (n > 0 && at[n - 1] == '\r')
		at[--n] = 0;
	if (n < 20 || at[n - 10] != ' ' || at[n - 9] != '*')
		return 0;
	sum = crc32(at, n - 10);
	sprintf(text, "%08lx", (unsigned long)sum);
	if (strcmp(text, at + n - 8))
		return 0;
	/* The answer was late or lost: once more, and without doing it again. */
	if (m->answered && m->last == sum) {
		memcpy(answer, m->answer, m->answered);
		return m->answered;
	}
	at[n - 10] = 0;
	if (strlen(at) < 10 || at[8] != ' ')
		return 0;
	at[8] = 0; /* at + 4 is the number of the command */
	for (char *p = strtok(at + 9, " "); p && words < 6; p = strtok(NULL, " "))
		w[words++] = p;
	command(m, w, words, text);
	n = (size_t)sprintf(answer, "MM1 %.4s %s", at + 4, text);
	n += (size_t)sprintf(answer + n, " *%08lx\r\n", (unsigned long)crc32(answer, n));
	memcpy(m->answer, answer, n);
	m->answered = n;
	m->last = sum;
	return n;
}

size_t mm_byte(struct mm *m, uint8_t b, char *answer)
{
	size_t n = 0;
	if (b == '\n') {
		if (!m->skip)
			n = line(m, answer);
		m->have = 0;
		m->skip = 0;
	} else if (m->have == MM_LINE) {
		m->skip = 1;
	} else {
		m->line[m->have++] = (char)b;
	}
	return n;
}
