package station

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/x509/pkix"
	"mintmark/internal/pkitest"
)

func sampleEntry(t testing.TB, device string) Entry {
	t.Helper()
	return Entry{Version: entryVersion, Device: device, State: Requested, Since: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), CSR: pkitest.CSR(t, generate(t), pkix.Name{CommonName: device})}
}

func TestQueue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	q, err := OpenQueue(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"SN-a", "SN-A", "02:00:00:00:00:01"} {
		if err := q.Put(sampleEntry(t, device)); err != nil {
			t.Fatal(err)
		}
	}
	// What a crash leaves of a write.
	if err := os.WriteFile(filepath.Join(dir, fileOf("SN-a")+".tmp"), []byte(`{"vers`), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadQueue(dir); err != nil || len(list) != 3 {
		t.Errorf("read beside: %v, %v", list, err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, fileOf("SN-a")))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if q, err = OpenQueue(dir); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if list := q.All(); len(list) != 3 {
		t.Errorf("%d entries", len(list))
	}
	for _, device := range []string{"../x", "", "a b", strings.Repeat("x", 65)} {
		e := sampleEntry(t, "SN-1")
		e.Device = device
		if err := q.Put(e); err == nil {
			t.Errorf("device %q is in the queue", device)
		}
	}
	if err := q.Remove("SN-a"); err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Get("SN-a"); ok {
		t.Error("removed, and there")
	}
}

// TestQueueDamaged: a file that cannot be read stops the station, for it is a device's.
func TestQueueDamaged(t *testing.T) {
	good, err := json.Marshal(sampleEntry(t, "SN-1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, text, want string }{
		{fileOf("SN-1"), string(good[:50]), "unexpected EOF"},
		{fileOf("SN-1"), string(good) + "{}", "after its end"},
		{fileOf("SN-1"), strings.Replace(string(good), `"version":1`, `"version":2`, 1), "version 2"},
		{fileOf("SN-1"), strings.Replace(string(good), `"requested"`, `"issued"`, 1), "certificate"},
		{fileOf("SN-1"), strings.Replace(string(good), `"state"`, `"stat"`, 1), "unknown field"},
		{fileOf("SN-2"), string(good), "would be named"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, test.name), []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenQueue(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60s: %v, want %q", test.text, err, test.want)
		}
	}
}

func FuzzEntry(f *testing.F) {
	e := sampleEntry(f, "SN-1")
	for range 2 {
		data, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		e.State = Making
	}
	f.Add([]byte(`{"version":1,"device":"x","csr":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEntry(data)
		if err != nil {
			if e != nil {
				t.Error("an error, and an entry")
			}
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := parseEntry(again)
		if err != nil {
			t.Fatalf("%s was read, and not as it is written again: %v", data, err)
		}
		if third, _ := json.Marshal(twice); !bytes.Equal(again, third) {
			t.Errorf("%s became %s", again, third)
		}
	})
}
