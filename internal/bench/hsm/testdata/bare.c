// Signs with a PKCS#11 module alone: C_SignInit and C_Sign in a loop, in so many
// threads with a session each. usage: bare MODULE TOKEN SESSIONS MILLISECONDS, with the
// PIN on standard input. It prints signatures a second.
//
// Types are those of PKCS#11 v2.40, Section 3, as far as they are needed here.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long ulong;
typedef ulong rv_t;
typedef unsigned char byte;
struct attribute { ulong type; void *value; ulong length; };
struct mechanism { ulong type; void *parameter; ulong length; };
struct initialize { void *create, *destroy, *lock, *unlock; ulong flags; void *reserved; };
struct list { byte version[2]; void *f[68]; };

// By their place in CK_FUNCTION_LIST.
enum { Initialize = 0, GetSlotList = 4, GetTokenInfo = 6, OpenSession = 12, Login = 18, FindObjectsInit = 26, FindObjects = 27, FindObjectsFinal = 28, SignInit = 42, Sign = 43 };
#define CALL(name, types) ((rv_t(*) types)p11->f[name])

static struct list *p11;
static ulong key;
static atomic_int stop;

static void check(const char *what, rv_t rv)
{
	if (!rv) return;
	fprintf(stderr, "%s: 0x%lx\n", what, rv);
	exit(1);
}

struct worker { ulong session; long signatures; };

static void *work(void *arg)
{
	struct worker *w = arg;
	byte digest[32] = {1}, signature[64];
	struct mechanism ecdsa = {0x1041, NULL, 0};
	while (!stop) {
		ulong n = sizeof signature;
		check("C_SignInit", CALL(SignInit, (ulong, struct mechanism *, ulong))(w->session, &ecdsa, key));
		check("C_Sign", CALL(Sign, (ulong, byte *, ulong, byte *, ulong *))(w->session, digest, sizeof digest, signature, &n));
		w->signatures++;
		digest[w->signatures % 32]++;
	}
	return NULL;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 5) return 2;
	char pin[64] = "", label[32];
	if (!fgets(pin, sizeof pin, stdin)) return 2;
	pin[strcspn(pin, "\n")] = 0;
	memset(label, ' ', sizeof label);
	memcpy(label, argv[2], strlen(argv[2]) > 32 ? 32 : strlen(argv[2]));
	void *module = dlopen(argv[1], RTLD_NOW);
	rv_t (*get)(struct list **) = module ? (rv_t(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
	if (!get) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	check("C_GetFunctionList", get(&p11));
	struct initialize os_locking = {.flags = 2};
	check("C_Initialize", CALL(Initialize, (struct initialize *))(&os_locking));
	ulong slots[64], count = 64, slot = 0;
	byte info[1024];
	int found = 0;
	check("C_GetSlotList", CALL(GetSlotList, (byte, ulong *, ulong *))(1, slots, &count));
	for (ulong i = 0; i < count; i++)
		if (!CALL(GetTokenInfo, (ulong, byte *))(slots[i], info) && !memcmp(info, label, 32)) slot = slots[i], found = 1;
	if (!found) {
		fprintf(stderr, "no such token\n");
		return 1;
	}
	int n = atoi(argv[3]);
	struct worker *workers = calloc(n, sizeof *workers);
	pthread_t *threads = calloc(n, sizeof *threads);
	for (int i = 0; i < n; i++)
		check("C_OpenSession", CALL(OpenSession, (ulong, ulong, void *, void *, ulong *))(slot, 4, NULL, NULL, &workers[i].session));
	check("C_Login", CALL(Login, (ulong, ulong, char *, ulong))(workers[0].session, 1, pin, strlen(pin)));
	ulong private = 3;
	struct attribute class = {0, &private, sizeof private};
	check("C_FindObjectsInit", CALL(FindObjectsInit, (ulong, struct attribute *, ulong))(workers[0].session, &class, 1));
	check("C_FindObjects", CALL(FindObjects, (ulong, ulong *, ulong, ulong *))(workers[0].session, &key, 1, &count));
	check("C_FindObjectsFinal", CALL(FindObjectsFinal, (ulong))(workers[0].session));
	if (!count) {
		fprintf(stderr, "no private key\n");
		return 1;
	}
	double start = now();
	for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, work, &workers[i]);
	struct timespec t = {atoi(argv[4]) / 1000, atoi(argv[4]) % 1000 * 1000000L};
	nanosleep(&t, NULL);
	stop = 1;
	long total = 0;
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		total += workers[i].signatures;
	}
	printf("%.1f\n", total / (now() - start));
	return 0;
}
