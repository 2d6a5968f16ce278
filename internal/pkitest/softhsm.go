package pkitest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// softHSMPaths is where distributions install the module.
var softHSMPaths = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// SoftHSMPIN is the user PIN of the token that SoftHSM makes.
const SoftHSMPIN = "98765432"

// SoftHSM makes an empty SoftHSM2 token in a directory of the test and
// returns the path of the PKCS#11 module, the label of the token and a file
// that holds its PIN. Where SoftHSM2 is not installed it does as Tool does. The
// module reads its configuration once in a process: call it once in a test,
// and close what used the module before the test ends.
func SoftHSM(t testing.TB) (module, token, pinFile string) {
	t.Helper()
	for _, path := range softHSMPaths {
		if _, err := os.Stat(path); err == nil {
			module = path
			break
		}
	}
	if module == "" {
		lacking(t, "SoftHSM2")
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	conf := filepath.Join(dir, "softhsm2.conf")
	pinFile = filepath.Join(dir, "pin")
	write := func(path, text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	write(conf, fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tokens), 0o600)
	write(pinFile, SoftHSMPIN+"\n", 0o400)
	t.Setenv("SOFTHSM2_CONF", conf)
	AddToken(t, "factory")
	return module, "factory", pinFile
}

// AddToken adds a token with the PIN SoftHSMPIN to those of SoftHSM.
func AddToken(t testing.TB, label string) {
	t.Helper()
	out, err := exec.Command(Tool(t, "softhsm2-util"), "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", SoftHSMPIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util --init-token: %v\n%s", err, out)
	}
}
