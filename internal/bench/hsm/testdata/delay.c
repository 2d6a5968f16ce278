// A PKCS#11 module in front of the one that DELAY_MODULE names, in which each C_Sign
// takes DELAY_US microseconds longer: what a network HSM is to its caller.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef unsigned long ulong;
struct list { unsigned char version[2]; void *f[68]; }; // CK_FUNCTION_LIST of v2.40
enum { GetFunctionList = 3, Sign = 43 };

static struct list mine, *real;
static struct timespec delay;

static ulong sign(ulong session, unsigned char *data, ulong n, unsigned char *signature, ulong *length)
{
	// Without a place for the signature it is only asked for the length.
	if (signature) nanosleep(&delay, NULL);
	return ((ulong(*)(ulong, unsigned char *, ulong, unsigned char *, ulong *))real->f[Sign])(session, data, n, signature, length);
}

ulong C_GetFunctionList(struct list **list)
{
	if (!real) {
		const char *path = getenv("DELAY_MODULE"), *us = getenv("DELAY_US");
		void *module = path && us ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
		ulong (*get)(struct list **) = module ? (ulong(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
		if (!get || get(&real)) return 5; // CKR_GENERAL_ERROR
		mine = *real;
		mine.f[GetFunctionList] = C_GetFunctionList;
		mine.f[Sign] = sign;
		delay.tv_nsec = atol(us) * 1000;
	}
	*list = &mine;
	return 0;
}
