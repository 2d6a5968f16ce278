//go:build linux && cgo && !nopkcs11

package keystore

// errNoPKCS11 is what a build without PKCS#11 says.
var errNoPKCS11 error
