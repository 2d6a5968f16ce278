//go:build !cgo || nopkcs11

package hsm

const built = false // without the module's loader there is nothing to measure
