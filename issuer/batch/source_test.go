package batch_test

import (
	"archive/zip"
	"bytes"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer/batch"
)

// all reads a source to its end.
func all(devices func(func(batch.Item, error) bool)) (list []batch.Item, err error) {
	for item, failed := range devices {
		if failed != nil {
			return list, failed
		}
		list = append(list, item)
	}
	return list, nil
}

func TestNames(t *testing.T) {
	for name, tt := range map[string]struct {
		text, column string
		want         []string
		wrong        string
	}{
		"lines":          {"a\nb\r\n\nc", "", []string{"a", "b", "c"}, ""},
		"mark":           {"\ufeffa\nb\n", "", []string{"a", "b"}, ""},
		"a table":        {"a,b\n", "", nil, "separator"},
		"long line":      {strings.Repeat("a", 70<<10), "", nil, "a line of more than"},
		"CSV":            {"device,colour\na,red\n\"b\",blue\n", "device", []string{"a", "b"}, ""},
		"semicolons":     {"colour;device\nred;a\nblue;b\n", "device", []string{"a", "b"}, ""},
		"no such column": {"colour;device\nred;a\n", "serial", nil, `no column "serial"`},
		"twice":          {"device,device\na,b\n", "device", nil, "twice"},
		"short row":      {"device,colour\na\n", "device", nil, "wrong number of fields"},
		"open quote":     {"device,colour\n\"a,red\n", "device", nil, "quote"},
		"empty":          {"", "device", nil, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := all(batch.Names(strings.NewReader(tt.text), tt.column))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got %v, want %q", err, tt.wrong)
				}
				return
			}
			var names []string
			for _, item := range list {
				names = append(names, item.Name)
			}
			if err != nil || strings.Join(names, "|") != strings.Join(tt.want, "|") {
				t.Errorf("got %q, %v", names, err)
			}
		})
	}
	list, err := all(batch.Numbered("SN-", 98, 3, 3))
	if err != nil || len(list) != 3 || list[0].Name != "SN-098" || list[2].Name != "SN-100" {
		t.Errorf("numbered: %+v, %v", list, err)
	}
}

// zipped is an archive of files.
func zipped(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRequestSources(t *testing.T) {
	list := requests(t, "pump-1", "pump-2")
	text := func(der []byte) []byte { return pkitest.PEM("CERTIFICATE REQUEST", der) }
	line := func(csr string) string {
		b, err := json.Marshal(map[string]string{"csr": csr, "device": "x"})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	stream := func(s string) func() ([]batch.Item, error) {
		return func() ([]batch.Item, error) { return all(batch.Requests(strings.NewReader(s))) }
	}
	folder := func(files map[string][]byte) func() ([]batch.Item, error) {
		return func() ([]batch.Item, error) {
			dir := t.TempDir()
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return all(batch.RequestFolder(dir))
		}
	}
	archive := func(files map[string][]byte) func() ([]batch.Item, error) {
		return func() ([]batch.Item, error) {
			content := zipped(t, files)
			return all(batch.RequestArchive(bytes.NewReader(content), int64(len(content))))
		}
	}
	both := map[string][]byte{"1.csr": text(list[0]), "2.der": list[1]}
	for name, tt := range map[string]struct {
		read  func() ([]batch.Item, error)
		count int
		wrong string
	}{
		"PEM":              {stream("text before\n" + string(text(list[0])) + "between\n" + string(text(list[1]))), 2, ""},
		"NDJSON":           {stream(line(string(text(list[0]))) + "\n" + line(base64.StdEncoding.EncodeToString(list[1]))), 2, ""},
		"DER":              {stream(string(list[0])), 1, ""},
		"nothing":          {stream(""), 0, ""},
		"folder":           {folder(both), 2, ""},
		"ZIP":              {archive(both), 2, ""},
		"cut off":          {stream(string(text(list[0])[:200])), 0, "cut off"},
		"certificates":     {stream(strings.ReplaceAll(string(text(list[0])), "CERTIFICATE REQUEST", "CERTIFICATE")), 0, "a CERTIFICATE in place"},
		"private key":      {stream("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0, "a PRIVATE KEY in place"},
		"endless PEM":      {stream("-----BEGIN CERTIFICATE REQUEST-----\n" + strings.Repeat("AAAA\n", 20<<10)), 0, "larger than"},
		"no csr":           {stream(`{"device":"x"}`), 0, "no field csr"},
		"no base64":        {stream(`{"csr":"???"}`), 0, "neither PEM nor base64"},
		"broken JSON":      {stream(`{"csr":`), 0, "line 1"},
		"long line":        {stream(`{"csr":"` + strings.Repeat("A", 70<<10)), 0, "a line of more than"},
		"folder with two":  {folder(map[string][]byte{"1.pem": append(text(list[0]), text(list[1])...)}), 0, "more than one"},
		"ZIP with a bomb":  {archive(map[string][]byte{"1.csr": make([]byte, 10<<20)}), 0, "are allowed"},
		"ZIP leads out":    {archive(map[string][]byte{"../1.csr": list[0]}), 0, "leads out"},
		"ZIP from the top": {archive(map[string][]byte{"/etc/1.csr": list[0]}), 0, "leads out"},
		"ZIP of Windows":   {archive(map[string][]byte{`..\1.csr`: list[0]}), 0, "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			items, err := tt.read()
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("got %v, want %q", err, tt.wrong)
			}
			if err == nil && len(items) != tt.count {
				t.Errorf("%d requests, want %d", len(items), tt.count)
			}
		})
	}
}

// TestCreateRefused: what is wrong with the devices or the plan, before anything is asked for.
func TestCreateRefused(t *testing.T) {
	f := &factory{root: customer(t)}
	key := pkitest.NewKey(t)
	same := [][]byte{pkitest.CSR(t, key, pkix.Name{CommonName: "pump-1"}), pkitest.CSR(t, key, pkix.Name{CommonName: "pump-2"})}
	plan := func(change func(*batch.Plan)) batch.Plan {
		p := f.plan()
		change(&p)
		return p
	}
	named := func(names ...string) func(func(batch.Item, error) bool) { return batch.Named(names) }
	byRequest := func(p *batch.Plan) { p.KeyType, p.Unencrypted = "", false }
	for name, tt := range map[string]struct {
		plan    batch.Plan
		devices func(func(batch.Item, error) bool)
		wrong   string
	}{
		"nobody":             {f.plan(), named(), "no device"},
		"twice":              {f.plan(), named("a", "b", "a"), `"a" is in the input twice, as 1 and 3`},
		"one key":            {plan(byRequest), asked(same), "have the same key"},
		"one request":        {plan(byRequest), asked([][]byte{same[0], same[0]}), "twice"},
		"no name":            {f.plan(), named("a", ""), "no name"},
		"control character":  {f.plan(), named("a\x1b[2J"), "control character"},
		"line end":           {f.plan(), named("a\nb"), "control character"},
		"not UTF-8":          {f.plan(), named("a\xff"), "not text"},
		"blank":              {f.plan(), named("a "), "blank"},
		"long":               {f.plan(), named(strings.Repeat("a", 300)), "measures"},
		"too many":           {f.plan(), batch.Numbered("", 1, batch.MaxItems+1, 6), "more than 100000"},
		"broken request":     {plan(byRequest), asked([][]byte{{0x30, 0}}), "parsing"},
		"unnamed request":    {plan(byRequest), asked([][]byte{pkitest.CSR(t, key, pkix.Name{Organization: []string{"x"}})}), "no name"},
		"keys in the clear":  {plan(func(p *batch.Plan) { p.Unencrypted = false }), named("a"), "in the clear"},
		"folder for another": {plan(func(p *batch.Plan) { p.Unencrypted, p.Recipient, p.Pack = false, customer(t).Raw, batch.Folder }), named("a"), "not encrypted"},
		"PKCS #12 of none":   {plan(func(p *batch.Plan) { byRequest(p); p.Format = batch.PKCS12 }), asked(same[:1]), "PKCS #12"},
		"key type":           {plan(func(p *batch.Plan) { p.KeyType = "RSA-1024" }), named("a"), "RSA-1024"},
		"form":               {plan(func(p *batch.Plan) { p.Format = "jks" }), named("a"), "jks"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "batch")
			if _, err := batch.Create(dir, tt.plan, tt.devices, time.Now()); err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("got %v, want %q", err, tt.wrong)
			}
			if _, err := batch.ReadPlan(dir); !os.IsNotExist(err) {
				t.Errorf("there is a plan all the same: %v", err)
			}
		})
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"a\nb\n", "device,colour\na,red\n", "device;x\n\"a\";\"b\n", "\ufeffa"} {
		f.Add(seed, "device")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, text, column string) {
		list, err := all(batch.Names(strings.NewReader(text), column))
		if err != nil {
			return
		}
		for _, item := range list {
			if len(item.Name) > len(text) || item.CSR != nil {
				t.Errorf("%q has the name %q", text, item.Name)
			}
		}
	})
}

func FuzzRequests(f *testing.F) {
	der := pkitest.CSR(f, pkitest.Key(f, "P-256"), pkix.Name{CommonName: "pump-1"})
	f.Add(der)
	f.Add(pkitest.PEM("CERTIFICATE REQUEST", der, der))
	f.Add([]byte(`{"csr":"` + base64.StdEncoding.EncodeToString(der) + `"}`))
	f.Add(zipped(f, map[string][]byte{"1.csr": der, "2.csr": pkitest.PEM("CERTIFICATE REQUEST", der)}))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, source := range []func(func(batch.Item, error) bool){
			batch.Requests(bytes.NewReader(content)), batch.RequestArchive(bytes.NewReader(content), int64(len(content))),
		} {
			list, err := all(source)
			for _, item := range list {
				if len(item.CSR) > 64<<10 || item.Name != "" {
					t.Errorf("a request of %d bytes named %q, %v", len(item.CSR), item.Name, err)
				}
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(`{"manifest":1,"batch":"0123456789abcdef0123456789abcdef","profile":"device","issuer":"issuing","created":"2027-01-31T12:00:00Z","files":1,"devices":1}
{"file":"part-0001.zip","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}
{"device":"a","serial":"01","part":1,"sha256":"` + strings.Repeat("0", 64) + `"}
`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := batch.ReadManifest(strings.NewReader(text))
		if err != nil {
			return
		}
		files, devices := 0, 0
		for m.Next() {
			e := m.Entry()
			if e.File != "" {
				files++
				if !filepath.IsLocal(e.File) {
					t.Errorf("file %q leads out", e.File)
				}
			} else {
				devices++
			}
		}
		if m.Err() == nil && (files != m.Header.Files || devices != m.Header.Devices) {
			t.Errorf("%d files and %d devices under %+v", files, devices, m.Header)
		}
	})
}
