// A PKCS#11 module in front of another one, that fails on command.
//
// It hands out the function list of the real module with some functions replaced.
// What it does wrong stands in an array of words that the test maps into its memory
// too: the file PATH.control beside this file PATH. So a fault starts and ends at
// once, in whatever process holds the module, and counts go on over restarts of it.
//
// Types are those of PKCS#11 v2.40, Section 3, as far as they are needed here, with
// the layout of every platform but Windows.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef ulong rv_t;
typedef unsigned char byte;
struct attribute { ulong type; void *value; ulong length; };

// The words of the control file; control.go has the same list.
enum {
	READY, COMMAND, DONE, RESULT,
	DELAY, HANG, KEY, FAIL, FAIL_COUNT, GONE, LOGIN, LOCK_AFTER, FLAGS_ON, PAD,
	GARBAGE, GARBAGE_COUNT, CRASH, CRASH_COUNT, MAX_SESSIONS, NOISE, LIE, LIE_VALUE,
	INIT_DELAY, LOGIN_DELAY, LOGIN_CRASH, ASTRAY,
	LOADS = 32, PID, LOGINS, REFUSED, SIGNED, OPENED, INITIALIZED, FINALIZED, HUNG, SIGNING, ASKED,
	WORDS = 64
};
#define MODULE_AT (WORDS * 8)
#define CONF_AT (MODULE_AT + 1024)
#define PIN_AT (CONF_AT + 1024)
#define SIZE (PIN_AT + 64)

// What hangs (bits of HANG), what Wipe does (low byte of COMMAND).
enum { HANG_SIGN = 1, HANG_LOGIN = 2, HANG_OPEN = 4, HANG_INITIALIZE = 8, HANG_FIND = 16 };
enum { CLOSE_ALL = 1, LOGOUT, FINALIZE };

enum {
	CKR_OK = 0, CKR_SLOT_ID_INVALID = 3, CKR_GENERAL_ERROR = 5, CKR_ARGUMENTS_BAD = 7, CKR_PIN_INCORRECT = 0xa0, CKR_PIN_LOCKED = 0xa4,
	CKR_SESSION_COUNT = 0xb1, CKR_TOKEN_NOT_PRESENT = 0xe0
};
enum { CKF_PROTECTED_AUTHENTICATION_PATH = 0x100, CKF_USER_PIN_LOCKED = 0x40000, CKF_SERIAL_SESSION = 4 };
enum { CKA_ID = 0x102 };

// The functions of CK_FUNCTION_LIST that are replaced or called, by their place in it.
enum {
	Initialize = 0, Finalize = 1, GetFunctionList = 3, GetSlotList = 4, GetTokenInfo = 6, OpenSession = 12, CloseSession = 13,
	CloseAllSessions = 14, Login = 18, Logout = 19, GetAttributeValue = 24, FindObjectsInit = 26, SignInit = 42, Sign = 43,
	GenerateKeyPair = 59, FUNCTIONS = 68
};
struct list { byte version[2]; void *f[FUNCTIONS]; };

static struct list mine, *real;
static _Atomic int64_t *word;
static char *control;
static atomic_ulong slot;    // where a session was opened last
static atomic_long sessions; // open now, as far as was told
static atomic_int astray;    // 1: as if finalized between two calls of a search, 2: as if the slots were lost by it
static atomic_ulong key_of[4096]; // of a session: the first eight bytes of the CKA_ID it signs with

#define CALL(name, types) ((rv_t(*) types)real->f[name])

// takes one of a count; a negative count lasts for ever.
static int takes(int what, int count)
{
	if (!word[what]) return 0;
	int64_t left = word[count];
	while (left > 0)
		if (atomic_compare_exchange_weak(&word[count], &left, left - 1)) return 1;
	return left < 0;
}

static void pause_ns(int64_t ns)
{
	struct timespec t = {ns / 1000000000, ns % 1000000000};
	nanosleep(&t, NULL);
}

static void hangs(int bit)
{
	if (!(word[HANG] & bit)) return;
	word[HUNG]++;
	while (word[HANG] & bit) pause_ns(1000000);
	word[HUNG]--;
}

static rv_t initialize(void *args)
{
	hangs(HANG_INITIALIZE);
	if (word[INIT_DELAY]) pause_ns(word[INIT_DELAY]);
	word[INITIALIZED]++;
	return CALL(Initialize, (void *))(args);
}

static rv_t finalize(void *reserved)
{
	word[FINALIZED]++;
	sessions = 0;
	return CALL(Finalize, (void *))(reserved);
}

static rv_t get_slot_list(byte present, ulong *list, ulong *count)
{
	if ((word[GONE] || astray == 2) && present && count) {
		*count = 0;
		return CKR_OK;
	}
	return CALL(GetSlotList, (byte, ulong *, ulong *))(present, list, count);
}

// get_token_info changes flags, which are after label, manufacturer, model and serial
// number of CK_TOKEN_INFO.
static rv_t get_token_info(ulong id, byte *info)
{
	if (word[GONE]) return CKR_TOKEN_NOT_PRESENT;
	if (astray == 1) {
		astray = 2;
		return CKR_SLOT_ID_INVALID;
	}
	rv_t rv = CALL(GetTokenInfo, (ulong, byte *))(id, info);
	if (rv == CKR_OK) {
		ulong *flags = (ulong *)(info + 96);
		*flags |= word[FLAGS_ON];
		if (word[PAD]) *flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
		if (word[LOCK_AFTER] && word[REFUSED] >= word[LOCK_AFTER]) *flags |= CKF_USER_PIN_LOCKED;
	}
	return rv;
}

static rv_t open_session(ulong id, ulong flags, void *application, void *notify, ulong *session)
{
	hangs(HANG_OPEN);
	if (word[GONE]) return CKR_TOKEN_NOT_PRESENT;
	if (word[MAX_SESSIONS] && sessions >= word[MAX_SESSIONS]) return CKR_SESSION_COUNT;
	slot = id;
	rv_t rv = CALL(OpenSession, (ulong, ulong, void *, void *, ulong *))(id, flags, application, notify, session);
	if (rv == CKR_OK) {
		sessions++;
		word[OPENED]++;
	}
	return rv;
}

static rv_t close_session(ulong session)
{
	rv_t rv = CALL(CloseSession, (ulong))(session);
	if (rv == CKR_OK) sessions--;
	return rv;
}

static rv_t close_all(ulong id)
{
	sessions = 0;
	return CALL(CloseAllSessions, (ulong))(id);
}

static rv_t login(ulong session, ulong user, byte *pin, ulong length)
{
	word[LOGINS]++;
	hangs(HANG_LOGIN);
	if (word[LOGIN_DELAY]) pause_ns(word[LOGIN_DELAY]);
	if (word[LOGIN_CRASH]) abort();
	if (word[GONE]) return word[GONE];
	if (word[LOGIN]) {
		word[REFUSED]++;
		return word[LOGIN];
	}
	if (word[LOCK_AFTER] && word[REFUSED] >= word[LOCK_AFTER]) return CKR_PIN_LOCKED;
	if (!pin) {
		if (!word[PAD]) return CKR_ARGUMENTS_BAD;
		pin = (byte *)control + PIN_AT;
		length = strlen((char *)pin);
	}
	rv_t rv = CALL(Login, (ulong, ulong, byte *, ulong))(session, user, pin, length);
	if (rv == CKR_PIN_INCORRECT) word[REFUSED]++;
	return rv;
}

static rv_t get_attribute_value(ulong session, ulong object, struct attribute *a, ulong n)
{
	if (word[GONE]) return word[GONE];
	rv_t rv = CALL(GetAttributeValue, (ulong, ulong, struct attribute *, ulong))(session, object, a, n);
	for (ulong i = 0; word[LIE] && i < n; i++)
		if ((int64_t)a[i].type == word[LIE] && a[i].value && a[i].length == 1) *(byte *)a[i].value = word[LIE_VALUE];
	return rv;
}

static rv_t find_init(ulong session, struct attribute *a, ulong n)
{
	hangs(HANG_FIND);
	if (word[GONE]) return word[GONE];
	return CALL(FindObjectsInit, (ulong, struct attribute *, ulong))(session, a, n);
}

static rv_t generate(ulong session, void *mechanism, struct attribute *public, ulong publics, struct attribute *private, ulong privates, ulong *a, ulong *b)
{
	if (word[GONE]) return word[GONE];
	return CALL(GenerateKeyPair, (ulong, void *, struct attribute *, ulong, struct attribute *, ulong, ulong *, ulong *))(session, mechanism, public, publics, private, privates, a, b);
}

static rv_t sign_init(ulong session, void *mechanism, ulong object)
{
	if (word[GONE]) return word[GONE];
	rv_t rv = CALL(SignInit, (ulong, void *, ulong))(session, mechanism, object);
	if (rv == CKR_OK && word[KEY]) {
		byte id[64] = {0};
		struct attribute a = {CKA_ID, id, sizeof id};
		uint64_t first = 0;
		if (CALL(GetAttributeValue, (ulong, ulong, struct attribute *, ulong))(session, object, &a, 1) == CKR_OK)
			for (int i = 0; i < 8; i++) first = first << 8 | id[i];
		key_of[session % 4096] = first;
	}
	return rv;
}

static void crash(int64_t how)
{
	if (how == 1) abort();
	static volatile int *volatile nowhere = (int *)8;
	if (how == 2) *nowhere = 1;
	_exit(0);
}

static void spoil(int64_t how, byte *signature, ulong *length)
{
	switch (how) {
	case 1: signature[*length / 2] ^= 0x55; break; // of the right length, and wrong
	case 2: memset(signature, 0xff, *length); break; // out of every range
	case 3: *length /= 2; break;
	case 4: *length = 0; break;
	case 5: *length = 1 << 16; break; // more than there was room for
	case 6: memset(signature, 0, *length); break;
	}
}

static rv_t sign_(ulong session, byte *data, ulong n, byte *signature, ulong *length)
{
	if (word[NOISE]) {
		printf("vendor: C_Sign\n");
		fflush(stdout);
		fprintf(stderr, "vendor: \x1b[31mC_Sign of session %lu\n", session);
	}
	if (word[DELAY]) pause_ns(word[DELAY]);
	if (!word[KEY] || word[KEY] == (int64_t)key_of[session % 4096]) {
		hangs(HANG_SIGN);
		if (takes(CRASH, CRASH_COUNT)) crash(word[CRASH]);
		if (takes(FAIL, FAIL_COUNT)) return word[FAIL];
	}
	if (word[GONE]) return word[GONE];
	rv_t rv = CALL(Sign, (ulong, byte *, ulong, byte *, ulong *))(session, data, n, signature, length);
	if (rv != CKR_OK) return rv;
	word[SIGNED]++;
	if ((!word[KEY] || word[KEY] == (int64_t)key_of[session % 4096]) && takes(GARBAGE, GARBAGE_COUNT)) spoil(word[GARBAGE], signature, length);
	return CKR_OK;
}

static rv_t sign(ulong session, byte *data, ulong n, byte *signature, ulong *length)
{
	if (!signature) return CALL(Sign, (ulong, byte *, ulong, byte *, ulong *))(session, data, n, signature, length);
	word[ASKED]++;
	word[SIGNING]++;
	rv_t rv = sign_(session, data, n, signature, length);
	word[SIGNING]--;
	return rv;
}

// wipe does what somebody else in this process does behind the caller's back.
static rv_t wipe(int64_t how)
{
	ulong session;
	rv_t rv;
	switch (how) {
	case CLOSE_ALL:
		sessions = 0;
		return CALL(CloseAllSessions, (ulong))(slot);
	case LOGOUT:
		rv = CALL(OpenSession, (ulong, ulong, void *, void *, ulong *))(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
		if (rv != CKR_OK) return rv;
		rv = CALL(Logout, (ulong))(session);
		CALL(CloseSession, (ulong))(session);
		return rv;
	case FINALIZE:
		sessions = 0;
		return CALL(Finalize, (void *))(NULL);
	}
	return CKR_GENERAL_ERROR;
}

static void *behind(void *unused)
{
	for (;; pause_ns(200000)) {
		int64_t c = word[COMMAND];
		if (c == word[DONE]) continue;
		word[RESULT] = wipe(c & 0xff);
		word[DONE] = c;
	}
	return unused;
}

__attribute__((constructor)) static void load(void)
{
	Dl_info self;
	char path[4096];
	dladdr((void *)load, &self);
	snprintf(path, sizeof path, "%s.control", self.dli_fname);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) return;
	control = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (control == MAP_FAILED) return;
	word = (_Atomic int64_t *)control;
	if (control[CONF_AT]) setenv("SOFTHSM2_CONF", control + CONF_AT, 1);
	void *module = dlopen(control + MODULE_AT, RTLD_NOW | RTLD_LOCAL);
	rv_t (*list)(struct list **) = module ? (rv_t(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
	if (!list || list(&real) != CKR_OK) {
		real = NULL;
		return;
	}
	rv_t C_GetFunctionList(struct list **);
	mine = *real;
	mine.f[Initialize] = initialize;
	mine.f[Finalize] = finalize;
	mine.f[GetFunctionList] = C_GetFunctionList;
	mine.f[GetSlotList] = get_slot_list;
	mine.f[GetTokenInfo] = get_token_info;
	mine.f[OpenSession] = open_session;
	mine.f[CloseSession] = close_session;
	mine.f[CloseAllSessions] = close_all;
	mine.f[Login] = login;
	mine.f[GetAttributeValue] = get_attribute_value;
	mine.f[FindObjectsInit] = find_init;
	mine.f[GenerateKeyPair] = generate;
	mine.f[SignInit] = sign_init;
	mine.f[Sign] = sign;
	word[SIGNING] = word[HUNG] = 0; // of a process that is no more
	int64_t left = word[ASTRAY];
	while (left > 0 && !atomic_compare_exchange_weak(&word[ASTRAY], &left, left - 1));
	astray = left > 0;
	word[LOADS]++;
	word[PID] = getpid();
	word[DONE] = word[COMMAND];
	pthread_t thread;
	pthread_create(&thread, NULL, behind, NULL);
	pthread_detach(thread);
	word[READY] = 1;
}

rv_t C_GetFunctionList(struct list **list)
{
	if (!real) return CKR_GENERAL_ERROR;
	*list = &mine;
	return CKR_OK;
}
