package ceremony

import (
	"bytes"
	"crypto"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// held holds the ceremony of everything, with a key that is quick to verify with, and
// returns the files of its folder.
func (r *room) held(t testing.TB) (string, map[string][]byte) {
	t.Helper()
	cfg := r.config(t, r.ring(t))
	r.hold(t, strings.Replace(everything, "P-384", "P-256", 1), cfg)
	files, findings, err := readFolder(cfg.Folder)
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	return cfg.Folder, files
}

// TestEveryByteCounts changes single bytes of every file: each change is found.
func TestEveryByteCounts(t *testing.T) {
	_, files := newRoom(t).held(t)
	if len(files) != 6+6+11 {
		t.Errorf("the folder has %d files: %q", len(files), slices.Sorted(maps.Keys(files)))
	}
	perFile := 6
	if os.Getenv("MINTMARK_LONG") != "" {
		perFile = 200
	}
	changes := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		step := max(1, len(data)/perFile)
		changed := [][]byte{data[:len(data)-1], append(bytes.Clone(data), '\n'), data[1:], nil}
		for i := changes % step; i < len(data); i += step {
			one := bytes.Clone(data)
			one[i] ^= 1 << (i % 8)
			changed = append(changed, one)
		}
		for _, one := range changed {
			changes++
			other := maps.Clone(files)
			other[name] = one
			if report := verifyFiles(other, nil, Trust{}); len(report.Findings) == 0 {
				t.Errorf("a change of %s was not found:\n%q", name, one)
			}
		}
		other := maps.Clone(files)
		delete(other, name)
		if report := verifyFiles(other, nil, Trust{}); len(report.Findings) == 0 {
			t.Errorf("that %s is gone was not found", name)
		}
	}
	if report := verifyFiles(files, nil, Trust{}); len(report.Findings) > 0 {
		t.Errorf("findings in the honest folder: %q", report.Findings)
	}
	t.Logf("%d changes", changes)
}

// TestVerifyTrust gives keys of officers that are not those of the file.
func TestVerifyTrust(t *testing.T) {
	r := newRoom(t)
	folder, _ := r.held(t)
	for _, c := range []struct {
		name string
		keys map[string]crypto.PublicKey
		want string
	}{
		{"nobody", map[string]crypto.PublicKey{}, "0 officers signed, and the ceremony needs 2"},
		{"one", r.keysOf("alice"), "1 officer signed, and the ceremony needs 2"},
		{"who was not there", r.keysOf("alice", "carol"), "1 officer signed, and the ceremony needs 2"},
		{"another key", map[string]crypto.PublicKey{"alice": r.officers["alice"].Public(), "bob": pkitest.NewKey(t).Public()}, "is not the one that you gave"},
	} {
		report, err := Verify(folder, Trust{Officers: c.keys})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(report.Findings, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", c.name, report.Findings, c.want)
		}
	}
	if _, err := Verify(filepath.Join(folder, "nowhere"), Trust{}); err == nil {
		t.Error("a folder that is not there was verified")
	}
}

// TestVerifyQuorum has one officer hold a ceremony whose file says that one is enough.
// Who knows what was agreed finds it; who does not is told so.
func TestVerifyQuorum(t *testing.T) {
	r := newRoom(t)
	agreed := r.text(head + "steps:\n" + rootStep)
	cfg := r.config(t, r.ring(t))
	delete(cfg.Officers, "bob")
	r.hold(t, strings.Replace(head, "threshold: 2", "threshold: 1", 1)+"steps:\n"+rootStep, cfg)
	f, err := Parse(pkitest.ReadFile(t, filepath.Join(cfg.Folder, fileYAML)))
	if err != nil {
		t.Fatal(err)
	}
	keys := r.keysOf("alice", "bob", "carol")
	for _, c := range []struct {
		name    string
		trust   Trust
		finding string // "" for none
		words   string
	}{
		{"nothing is known", Trust{}, "", "1 officer among it, is what the folder says of itself"},
		{"keys alone", Trust{Officers: keys}, "", "no hash was given"},
		{"hash of the paper", Trust{Officers: keys, Hash: hexHash([]byte(agreed))}, "it is not the file that was signed off", ""},
		{"threshold", Trust{Officers: keys, Threshold: 2}, "1 officer signed, and you demand 2", ""},
		{"threshold alone", Trust{Threshold: 2}, "1 officer signed, and you demand 2", ""},
		{"its own hash", Trust{Officers: keys, Hash: strings.ToUpper(Groups(f.Hash())), Threshold: 1}, "", "that is the hash that you gave"},
		{"not a hash", Trust{Hash: "x"}, "not x as you gave", ""},
	} {
		report, err := Verify(cfg.Folder, c.trust)
		if err != nil {
			t.Fatal(err)
		}
		findings := strings.Join(report.Findings, "\n")
		if (findings == "") != (c.finding == "") || !strings.Contains(findings, c.finding) {
			t.Errorf("%s: findings %q, want %q", c.name, findings, c.finding)
		}
		if words := strings.Join(report.Words, "\n"); !strings.Contains(words, c.words) {
			t.Errorf("%s: the words lack %q:\n%s", c.name, c.words, words)
		}
	}
}

// TestStrangers puts things into a folder that no ceremony makes.
func TestStrangers(t *testing.T) {
	folder, _ := newRoom(t).held(t)
	for _, c := range []struct {
		name, want string
		put        func(path string) error
	}{
		{"outputs/extra.pem", "outputs/extra.pem belongs to no step", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"inputs/sub", "inputs/sub/x belongs to no step", func(path string) error {
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(path, "x"), nil, 0o600)
		}},
		{"link", "link is not a regular file", func(path string) error { return os.Symlink("/etc/passwd", path) }},
		{"\x1b[2Jname", "\uFFFD[2Jname belongs to no step", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
	} {
		path := filepath.Join(folder, c.name)
		if err := c.put(path); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(folder, Trust{})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) != 1 || !strings.Contains(report.Findings[0], c.want) {
			t.Errorf("%s: %q, want %q", c.name, report.Findings, c.want)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	mustVerify(t, folder, nil)
}

// TestForgers has the officers themselves sign a transcript that is not true: what it
// says is built again and does not agree.
func TestForgers(t *testing.T) {
	r := newRoom(t)
	_, honest := r.held(t)
	f, err := Parse(honest[fileYAML])
	if err != nil {
		t.Fatal(err)
	}
	given, err := readMaterial(f, func(name string) ([]byte, error) { return honest[folderInputs+name], nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		forge      func(*Transcript, map[string][]byte)
	}{
		{"nothing", "", func(*Transcript, map[string][]byte) {}},
		{"another serial number", "is not what file and inputs make", func(t *Transcript, _ map[string][]byte) { t.Steps[1].Serial = "abc" }},
		{"another key", "says something else", func(t *Transcript, _ map[string][]byte) { t.Steps[0].Key.SHA256 = t.Steps[1].Key.SHA256 }},
		{"another subject", "says something else", func(t *Transcript, _ map[string][]byte) { t.Steps[0].Subject = "CN=x" }},
		{"a step less", "has 6 steps, the file 7", func(t *Transcript, _ map[string][]byte) { t.Steps = t.Steps[:6] }},
		{"another key destroyed", "names another key", func(t *Transcript, _ map[string][]byte) { t.Steps[6].Key.SHA256 = t.Steps[1].Key.SHA256 }},
		{"a network", "which the file does not allow", func(t *Transcript, _ map[string][]byte) { t.Network.Interfaces = []string{"eth0"} }},
		{"one officer only", "1 officer signed", func(t *Transcript, _ map[string][]byte) { t.Officers = t.Officers[:1] }},
		{"one officer for two", "named twice", func(t *Transcript, _ map[string][]byte) { t.Officers[1] = t.Officers[0] }},
		{"an officer of nowhere", "is no officer of the file", func(t *Transcript, _ map[string][]byte) { t.Officers[1].Name = "mallory" }},
		{"a lower threshold", "names another file", func(t *Transcript, _ map[string][]byte) { t.Threshold = 1 }},
		{"another beginning", "is not the statement", func(t *Transcript, _ map[string][]byte) { t.Begun = t.Begun.AddDate(0, 0, -1) }},
		{"an end before the beginning", "before it began", func(t *Transcript, _ map[string][]byte) { t.Ended = t.Begun.AddDate(0, 0, -1) }},
		{"certificates exchanged", "step \"old-with-new\"", func(_ *Transcript, files map[string][]byte) {
			files["outputs/old-with-new.pem"] = files["outputs/new-with-old.pem"]
		}},
		{"chain of another", "step \"line3\"", func(_ *Transcript, files map[string][]byte) {
			files["outputs/line3-chain.pem"] = files["outputs/new-with-old-chain.pem"]
		}},
		{"journal cut", "does not tell what the transcript does", func(t *Transcript, files map[string][]byte) {
			lines := bytes.SplitAfter(files[fileJournal], []byte("\n"))
			files[fileJournal] = bytes.Join(lines[:len(lines)-2], nil)
			t.Records[2] = itemOf(fileJournal, files[fileJournal])
		}},
		{"journal of another order", "does not follow", func(t *Transcript, files map[string][]byte) {
			lines := bytes.SplitAfter(files[fileJournal], []byte("\n"))
			lines[3], lines[4] = bytes.Replace(lines[4], []byte(`"sequence":5`), []byte(`"sequence":4`), 1), bytes.Replace(lines[3], []byte(`"sequence":4`), []byte(`"sequence":5`), 1)
			files[fileJournal] = bytes.Join(lines, nil)
			t.Records[2] = itemOf(fileJournal, files[fileJournal])
		}},
	} {
		files := maps.Clone(honest)
		var transcript Transcript
		if err := json.Unmarshal(honest[fileTranscript], &transcript); err != nil {
			t.Fatal(err)
		}
		c.forge(&transcript, files)
		if files[fileTranscript], err = encode(&transcript); err != nil {
			t.Fatal(err)
		}
		signers, keys := maps.Clone(r.officers), maps.Clone(given.officers)
		signers["mallory"], keys["mallory"] = r.officers["bob"], given.officers["bob"]
		if files[fileSignatures], err = sign(closing(f, files[fileTranscript]), transcript.Officers, signers, keys); err != nil {
			t.Fatal(err)
		}
		report := verifyFiles(files, nil, Trust{})
		if c.want == "" && len(report.Findings) > 0 || c.want != "" && !strings.Contains(strings.Join(report.Findings, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", c.name, report.Findings, c.want)
		}
	}
}

// FuzzVerify puts any bytes in the place of each record of a good folder: Verify
// finds it and does not fail over it.
func FuzzVerify(f *testing.F) {
	_, files := newRoom(f).held(f)
	names := slices.Sorted(maps.Keys(files))
	for i, name := range names {
		f.Add(uint8(i), files[name])
	}
	f.Add(uint8(0), []byte("{}\n"))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		name := names[int(which)%len(names)]
		other := maps.Clone(files)
		other[name] = data
		report := verifyFiles(other, nil, Trust{})
		if good := len(report.Findings) == 0; good != bytes.Equal(data, files[name]) {
			t.Errorf("%s is %q: findings %q", name, data, report.Findings)
		}
		delete(other, fileTranscript)
		if report := verifyFiles(other, nil, Trust{}); !report.Incomplete && name != fileYAML && !strings.HasPrefix(name, folderInputs) {
			t.Errorf("%s is %q, and there is no transcript: %q", name, data, report.Findings)
		}
	})
}
