package keystore

import (
	"os"
	"testing"

	"mintmark/internal/keystore/token/child"
)

func TestMain(m *testing.M) {
	child.Main()
	SpareRounds()
	os.Exit(m.Run())
}
