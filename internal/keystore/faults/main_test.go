// Package faults shows what becomes of signatures, requests and the server when a
// token, its library or its PIN fails: real SoftHSM2 behind a module that fails on
// command (package shim), seen through the key store, the CA engine and the whole
// server. It also measures what the supervision costs, and has programs that we did
// not write read the keys that we made.
//
// It has tests only.
package faults

import (
	"os"
	"testing"

	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token/child"
)

func TestMain(m *testing.M) {
	child.Main()
	keystore.SpareRounds()
	os.Exit(m.Run())
}

// long says that there is time: make faults.
var long = os.Getenv("MINTMARK_LONG") != ""
