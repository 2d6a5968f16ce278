/* A device on a PC: mmline.c over a terminal, with openssl for a crypto library and a folder
 * for flash. It stands for a board: cc -o device device.c mmline.c; ./device TTY FOLDER ID */
#define _DEFAULT_SOURCE
#include "mmline.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static char id[65];

/* run pipes bytes through a fixed command; the folder is where it runs. */
static int run(const char *command, const uint8_t *in, size_t len, uint8_t *out, size_t room, size_t *outlen)
{
	char line[400];
	FILE *f = fopen("run.in", "wb");
	size_t n;
	if (!f || fwrite(in, 1, len, f) != len || fclose(f))
		return -1;
	snprintf(line, sizeof line, "%s <run.in 2>/dev/null", command);
	if (!(f = popen(line, "r")))
		return -1;
	n = fread(out, 1, room, f);
	if (pclose(f) || n == 0 || n == room)
		return -1;
	*outlen = n;
	return 0;
}

static int csr(uint8_t *out, size_t room, size_t *len)
{
	char command[300];
	if (access("key.pem", F_OK) &&
	    (system("openssl ecparam -name prime256v1 -genkey -noout -out key.new 2>/dev/null") || rename("key.new", "key.pem")))
		return -1;
	snprintf(command, sizeof command, "openssl req -new -key key.pem -outform DER -subj /CN=%s", id);
	return run(command, (const uint8_t *)"", 0, out, room, len);
}

static int store(const char *what, const uint8_t *in, size_t len)
{
	static const char own[] = "test \"$(openssl x509 -in cert.new -pubkey -noout)\" = \"$(openssl pkey -in key.pem -pubout)\"";
	char from[20], to[20];
	FILE *f;
	if (strcmp(what, "cert") && strcmp(what, "roots"))
		return -1;
	snprintf(from, sizeof from, "%s.new", what);
	snprintf(to, sizeof to, "%s.pem", what);
	if (!(f = fopen(from, "wb")) || fwrite(in, 1, len, f) != len || fflush(f) || fsync(fileno(f)) || fclose(f))
		return -1;
	if (!strcmp(what, "cert") && system(own))
		return -2;
	return rename(from, to);
}

static int sha256(const uint8_t *in, size_t len, uint8_t sum[32])
{
	uint8_t out[64];
	size_t n;
	if (run("openssl dgst -sha256 -binary", in, len, out, sizeof out, &n) || n != 32)
		return -1;
	memcpy(sum, out, 32);
	return 0;
}

static int leaf(uint8_t sum[32])
{
	uint8_t der[4096];
	size_t n;
	if (access("cert.pem", F_OK) || run("openssl x509 -in cert.pem -outform DER", (const uint8_t *)"", 0, der, sizeof der, &n))
		return -1;
	return sha256(der, n, sum);
}

static int sign(const uint8_t *text, size_t len, uint8_t *out, size_t room, size_t *outlen)
{
	return run("openssl dgst -sha256 -sign key.pem", text, len, out, room, outlen);
}

int main(int argc, char **argv)
{
	static struct mm m;
	struct mm_board board = {id, csr, store, leaf, sign, sha256};
	struct termios t;
	char answer[MM_LINE];
	uint8_t b;
	int fd;
	if (argc != 4 || strlen(argv[3]) > 64 || strspn(argv[3], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != strlen(argv[3])) {
		fprintf(stderr, "usage: device TTY FOLDER ID\n");
		return 2;
	}
	strcpy(id, argv[3]);
	if ((fd = open(argv[1], O_RDWR | O_NOCTTY)) < 0 || tcgetattr(fd, &t)) {
		perror(argv[1]);
		return 1;
	}
	cfmakeraw(&t);
	tcsetattr(fd, TCSANOW, &t);
	umask(077);
	mkdir(argv[2], 0700);
	if (chdir(argv[2])) {
		perror(argv[2]);
		return 1;
	}
	m.board = &board;
	dprintf(fd, "boot loader 1.0, MM1 is the line protocol\r\n"); /* as boards do */
	while (read(fd, &b, 1) == 1) {
		size_t n = mm_byte(&m, b, answer);
		if (n > 0 && write(fd, answer, n) != (ssize_t)n)
			return 1;
	}
	return 0;
}
