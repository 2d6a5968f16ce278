package batch

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNameIn(t *testing.T) {
	for _, tt := range []struct{ cn, serial, asked, want string }{
		{"pump-1", "", "pump-1", "pump-1"},
		{"pump-1", "77", "pump-1", "pump-1"},
		{"", "77", "pump-1", "77"},
		{"Pump", "77", "pump-1", "77"},
		{"Pump", "77", "77", "77"},
		{"Pump", "", "pump-1", "Pump"},
		{"", "", "pump-1", "pump-1"},
	} {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: tt.cn, SerialNumber: tt.serial}}
		if got := nameIn(c, tt.asked); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestFileNames(t *testing.T) {
	var names fileNames
	for _, tt := range [][2]string{
		{"SN-0001", "SN-0001"}, {"sn-0001", "sn-0001~2"}, {"SN-0001", "SN-0001~3"},
		{"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"}, {"..", "%2E%2E"}, {".", "%2E"}, {"/", "%2F"}, {`a\b`, "a%5Cb"},
		{"CON", "_CON"}, {"con.x", "_con.x"}, {"com1", "_com1"}, {"00:1a", "00%3A1a"}, {"-rf", "%2Drf"}, {"ü", "%C3%BC"}, {"a.", "a%2E"},
	} {
		if got := names.of(tt[0]); got != tt[1] || !filepath.IsLocal(got) {
			t.Errorf("%q is named %q, want %q", tt[0], got, tt[1])
		}
	}
	if got := names.of(strings.Repeat("x", 256)); len(got) > 210 {
		t.Errorf("a name of %d bytes", len(got))
	}
}

// FuzzState reads journals: what is taken has every item in a part, and in one that is open only once.
func FuzzState(f *testing.F) {
	f.Add([]byte("{\"part\":1,\"items\":[[0,3]]}\n{\"part\":1,\"done\":true,\"issued\":2,\"refused\":[{\"item\":1,\"rule\":\"clone\",\"text\":\"x\"}]}\n{\"part\":2,\"items\":[[1,1]]}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, journalFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(dir)
		if err != nil {
			return
		}
		defer j.close()
		s, err := stateOf(j.records, 5)
		if err != nil {
			return
		}
		seen := make(map[int]bool)
		for _, p := range s.open() {
			for _, n := range p.items {
				if n < 0 || n >= 5 || seen[n] {
					t.Errorf("item %d is in two open parts, or is none", n)
				}
				seen[n] = true
			}
		}
		for _, list := range s.next(2) {
			for _, n := range list {
				if seen[n] {
					t.Errorf("item %d is to be asked for and is being asked for", n)
				}
				seen[n] = true
			}
		}
	})
}

// FuzzListed reads the lists of certificates, which verify gets from strangers.
func FuzzListed(f *testing.F) {
	f.Add([]byte("{\"chain\":0,\"certificates\":[]}\n{\"chain\":0,\"device\":\"a\",\"serial\":\"01\",\"certificate\":\"x\"}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		err := readListed(bytes.NewReader(content), func(one Listed) error {
			if one.Certificate == nil || one.Device == "" {
				t.Errorf("read %+v", one)
			}
			return nil
		})
		_ = err // whatever is wrong with it
	})
}

// TestInventory: the name of a device in the inventory goes from the answer of the CA to the
// lists for clouds, and is written where it is another one than the delivery's.
func TestInventory(t *testing.T) {
	keys, err := makeKeys(t.Context(), "P-256", 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keys[0].Private)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "pump-1"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.(crypto.Signer).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{"": "pump-1", "pump-1": "pump-1", "01:02": "01:02"} {
		s := &shipment{plan: &Plan{}, part: 1}
		s.devices = []made{{name: "pump-1", device: device, chain: s.chainOf(nil), cert: c}}
		content, err := s.public()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("inventory")) != (want != "pump-1") {
			t.Errorf("%q: %s", device, content)
		}
		if err := readListed(bytes.NewReader(content), func(one Listed) error {
			if one.Device != "pump-1" || one.Inventory != want {
				t.Errorf("%q: read %q and %q", device, one.Device, one.Inventory)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestSpool: what was changed, or belongs to another part, is not opened, and without its key
// nothing is made anew.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpool(dir, "id")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := makeKeys(t.Context(), "P-256", 3, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.put(1, []int{4, 5, 6}, keys); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.name(1))
	if err != nil || bytes.Contains(content, keys[0].Private[40:60]) {
		t.Errorf("a key lies there in the clear: %v", err)
	}
	if s, err = openSpool(dir, "id"); err != nil {
		t.Fatal(err)
	}
	if err := s.shrink(1, []int{4, 5, 6}, keys, []int{5}); err != nil {
		t.Fatal(err)
	}
	items, left, err := s.get(1)
	if err != nil || !slices.Equal(items, []int{5}) || !bytes.Equal(left[0].Private, keys[1].Private) {
		t.Errorf("got %v, %v", items, err)
	}
	// Of a part behind the one that asks, too: that may have been cut off before it had keys.
	if err := s.put(3, []int{9}, keys[2:]); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		wanted []int
		held   int
		key    pair
	}{{[]int{5, 7}, 5, keys[1]}, {[]int{8, 9}, 9, keys[2]}} {
		if found, err := s.held(tt.wanted); err != nil || len(found) != 1 || !bytes.Equal(found[tt.held].Public, tt.key.Public) {
			t.Errorf("held of %v are %v, %v", tt.wanted, found, err)
		}
	}
	if err := os.Link(s.name(1), s.name(2)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.get(2); err == nil {
		t.Error("the keys of part 1 pass for those of part 2")
	}
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := openSpool(dir, "id"); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("without its key: %v", err)
	}
}
