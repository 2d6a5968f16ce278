/* The device's side of mintmark's line protocol, version 1 (docs/station.md).
 * No operating system, no heap: one buffer for what goes in or out. */
#ifndef MMLINE_H
#define MMLINE_H

#include <stddef.h>
#include <stdint.h>

#define MM_LINE 512  /* the longest line, with its end */
#define MM_BODY 8192 /* the longest request or chain; PEM of three certificates fits */

/* What the board does. Functions return 0, or -1 if they cannot; store also -2 if a
 * certificate is not for the board's key. */
struct mm_board {
	const char *id; /* identifier, as it stands in the request */
	/* The certification request for the board's key, PEM or DER. Makes a key if there is none,
	 * and never another one in its place. */
	int (*csr)(uint8_t *out, size_t room, size_t *len);
	/* Keeps "cert" (PEM: own certificate, then issuing CAs), "roots" or "key" where a power
	 * failure leaves the old one or the new one. */
	int (*store)(const char *what, const uint8_t *in, size_t len);
	/* SHA-256 of the DER of the certificate that is kept; -1 if none is. */
	int (*leaf)(uint8_t sum[32]);
	/* Signature over the SHA-256 of a text: ECDSA in DER, or RSA PKCS #1 v1.5. */
	int (*sign)(const uint8_t *text, size_t len, uint8_t *out, size_t room, size_t *outlen);
	int (*sha256)(const uint8_t *in, size_t len, uint8_t sum[32]);
};

struct mm {
	const struct mm_board *board;
	char line[MM_LINE + 1];
	size_t have;
	int skip;
	char name[8]; /* what the buffer holds */
	int writing;  /* 1: it is being written by the station, 0: read */
	uint8_t body[MM_BODY];
	size_t len;
	uint32_t last; /* CRC-32 of the last command, which has its number in it */
	char answer[MM_LINE];
	size_t answered;
};

/* Takes a byte that was received. Returns the length of the answer that must be sent,
 * or 0. answer has room for MM_LINE bytes. */
size_t mm_byte(struct mm *m, uint8_t b, char *answer);

#endif
