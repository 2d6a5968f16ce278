//go:build cgo && !nopkcs11

package hsm

const built = true
