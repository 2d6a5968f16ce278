//go:build linux && cgo && !nopkcs11

package child

/*
#cgo linux LDFLAGS: -ldl
#cgo noescape mm_sign
#cgo nocallback mm_sign
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

// What is needed here of PKCS#11 v2.40, Section 3.6: the list of functions is a version
// and then one pointer for each function, in the order of the specification.
typedef unsigned long ck_rv;
typedef struct { unsigned char major, minor; void *function[68]; } ck_list;
typedef struct { unsigned long mechanism; void *parameter; unsigned long length; } ck_mechanism;

enum { at_login = 18, at_sign_init = 42, at_sign = 43 };

// mm_default has a crash of the library end the process at once, as in a program that
// is not one of Go: without its stacks and registers, which may hold what does not
// belong into a log, and say nothing of the library.
static void mm_default(void)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		signal(crashes[i], SIG_DFL);
}

// mm_load loads a module and returns why it cannot be, or NULL.
static char *mm_load(const char *path, ck_list **list)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		const char *why = dlerror();
		return strdup(why ? why : "it cannot be loaded");
	}
	ck_rv (*get)(ck_list **) = (ck_rv (*)(ck_list **))dlsym(handle, "C_GetFunctionList");
	if (get == NULL)
		return strdup("it has no function C_GetFunctionList");
	*list = NULL;
	ck_rv rv = get(list);
	if (rv != 0 || *list == NULL)
		return strdup("its function C_GetFunctionList fails");
	return NULL;
}

static ck_rv mm_login(ck_list *l, unsigned long session, void *pin, unsigned long n)
{
	ck_rv (*login)(unsigned long, unsigned long, void *, unsigned long) = l->function[at_login];
	return login(session, 1, pin, n); // CKU_USER
}

// mm_sign makes a signature in one crossing from Go to C. *from is 1 if the error is
// one of C_Sign.
static ck_rv mm_sign(ck_list *l, unsigned long session, unsigned long key, unsigned long mechanism,
	void *in, unsigned long n, void *out, unsigned long *size, int *from)
{
	ck_rv (*init)(unsigned long, ck_mechanism *, unsigned long) = l->function[at_sign_init];
	ck_rv (*sign)(unsigned long, void *, unsigned long, void *, unsigned long *) = l->function[at_sign];
	ck_mechanism m = { mechanism, NULL, 0 };
	*from = 0;
	ck_rv rv = init(session, &m, key);
	if (rv != 0)
		return rv;
	*from = 1;
	return sign(session, in, n, out, size);
}
*/
import "C"

import (
	"unsafe"

	"mintmark/internal/keystore/token/wire"
)

// functions is the list of functions of a module, for those that package pkcs11 has
// in a way that does not fit: it copies a PIN where it cannot be wiped, and asks for
// each signature twice.
type functions struct{ list *C.ck_list }

// load loads a module for as long as the process lives.
func load(path string) (functions, error) {
	C.mm_default()
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var f functions
	if why := C.mm_load(name, &f.list); why != nil {
		defer C.free(unsafe.Pointer(why))
		return functions{}, &wire.Trouble{Kind: wire.NoModule, Text: "loading the PKCS#11 module: " + C.GoString(why)}
	}
	return f, nil
}

// login calls C_Login as the user, with a null pointer where pin is nil. The library
// gets the memory of pin itself.
func (f functions) login(session uint, pin []byte) uint {
	return uint(C.mm_login(f.list, C.ulong(session), unsafe.Pointer(unsafe.SliceData(pin)), C.ulong(len(pin))))
}

// sign calls C_SignInit and C_Sign, and returns how much of out is the signature.
func (f functions) sign(session, key, mechanism uint, in, out []byte) (n int, call string, code uint) {
	size := C.ulong(len(out))
	var from C.int
	rv := C.mm_sign(f.list, C.ulong(session), C.ulong(key), C.ulong(mechanism),
		unsafe.Pointer(unsafe.SliceData(in)), C.ulong(len(in)), unsafe.Pointer(unsafe.SliceData(out)), &size, &from)
	call = "C_SignInit"
	if from != 0 {
		call = "C_Sign"
	}
	if rv == 0 && size > C.ulong(len(out)) {
		return -1, call, 0 // no length that a library may return
	}
	return int(size), call, uint(rv)
}
