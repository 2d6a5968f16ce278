package ceremony

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
)

// Report is what Verify found.
type Report struct {
	Findings []string // what is wrong; none is good
	Words    []string // what was checked
	// Incomplete says that the ceremony ended before it had a transcript; Findings
	// says so too, and Words what the journal has.
	Incomplete bool
	// Transcript is that of the folder, nil if it has none that can be read.
	Transcript *Transcript
}

func (r *Report) bad(format string, args ...any) {
	r.Findings = append(r.Findings, visible(fmt.Sprintf(format, args...)))
}

func (r *Report) good(format string, args ...any) {
	r.Words = append(r.Words, visible(fmt.Sprintf(format, args...)))
}

// Trust is what a verifier knows from elsewhere than the folder. What is left out is
// taken from the folder itself, and the report says so.
type Trust struct {
	// Officers are the public keys that count, by name; nil takes those of the file.
	Officers map[string]crypto.PublicKey
	// Hash is the SHA-256 of the ceremony file that was signed off, in any grouping. It
	// makes what the file demands, the number of officers too, that which was reviewed.
	Hash string
	// Threshold is how many officers must have signed where the file demands fewer.
	Threshold int
}

// Verify checks a folder that Run has left, from what is in it and what the verifier
// knows: hashes, signatures of the officers, and that each output is what the file makes
// of the inputs, byte by byte. What is wrong is in the report; an error says that the
// folder could not be read.
func Verify(folder string, trust Trust) (*Report, error) {
	files, findings, err := readFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of a ceremony: %w", err)
	}
	return verifyFiles(files, findings, trust), nil
}

func verifyFiles(files map[string][]byte, findings []string, trust Trust) *Report {
	v := &verifier{files: files, trust: trust, report: &Report{}, known: map[string]bool{}}
	for _, finding := range findings {
		v.report.bad("%s", finding)
	}
	v.verify()
	v.strangers()
	return v.report
}

// verifier goes through the files of a folder.
type verifier struct {
	files  map[string][]byte
	trust  Trust
	report *Report
	known  map[string]bool // files that have their place

	file  *File
	given *material
	world *world
	said  *Transcript
}

// get returns a file that must be there.
func (v *verifier) get(name string) ([]byte, bool) {
	v.known[name] = true
	data, ok := v.files[name]
	if !ok {
		v.report.bad("%s is missing", name)
	}
	return data, ok
}

func (v *verifier) verify() {
	data, ok := v.get(fileYAML)
	if !ok {
		return
	}
	var err error
	if v.file, err = Parse(data); err != nil {
		v.report.bad("%s: %v", fileYAML, err)
		return
	}
	v.report.good("ceremony %q; SHA-256 of the file %s", v.file.Name, v.file.Hash())
	switch hash := typed(v.trust.Hash); hash {
	case "":
		v.report.good("no hash was given to compare with: what the file demands, %s among it, is what the folder says of itself", things(v.file.Officers.Threshold, "officer"))
	case v.file.Hash():
		v.report.good("that is the hash that you gave")
	default:
		v.report.bad("%s: its SHA-256 is %s, not %s as you gave: it is not the file that was signed off", fileYAML, v.file.Hash(), hash)
	}
	v.given, err = readMaterial(v.file, func(name string) ([]byte, error) {
		v.known[folderInputs+name] = true
		data, ok := v.files[folderInputs+name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return data, nil
	})
	if err != nil {
		v.report.bad("inputs: %v", err)
		return
	}
	v.report.good("%d inputs are those whose hashes the file has", len(v.given.order))
	if !v.transcript() {
		return
	}
	v.officers()
	v.steps()
}

// strangers finds files that belong to no ceremony.
func (v *verifier) strangers() {
	if v.file != nil {
		for i := range v.file.Steps {
			for _, name := range v.file.Steps[i].outputs() {
				v.known[folderOutputs+name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		if !v.known[name] {
			v.report.bad("%s belongs to no step of the ceremony", name)
		}
	}
	if v.said != nil && len(v.report.Findings) == 0 {
		v.report.good("the folder has no other file")
	}
}

// transcript reads the transcript and holds what it says of the file, the inputs and
// the records against what they are.
func (v *verifier) transcript() bool {
	for _, name := range []string{fileTranscript, fileSignatures, fileJournal, fileStatement, fileStatementS} {
		v.known[name] = true
	}
	data, ok := v.files[fileTranscript]
	if !ok {
		v.incomplete()
		return false
	}
	var t Transcript
	if err := decode(data, &t); err != nil {
		v.report.bad("%s: %v", fileTranscript, err)
		return false
	}
	v.said, v.report.Transcript = &t, &t
	want := t
	want.Version, want.Name, want.Purpose = 1, v.file.Name, v.file.Purpose
	want.File, want.Inputs = itemOf(fileYAML, v.file.raw), v.given.items()
	want.Threshold, want.Network.Allowed = v.file.Officers.Threshold, v.file.Network == "allowed"
	want.Records = nil
	for _, name := range []string{fileStatement, fileStatementS, fileJournal} {
		data, _ := v.get(name)
		want.Records = append(want.Records, itemOf(name, data))
	}
	if !sameJSON(want, t) {
		v.report.bad("%s: it names another file, other inputs or other records than are here", fileTranscript)
	}
	if len(t.Network.Interfaces) > 0 && v.file.Network != "allowed" {
		v.report.bad("%s: the machine had a network (%s), which the file does not allow", fileTranscript, list(t.Network.Interfaces))
	}
	if t.Begun.IsZero() || t.Ended.Before(t.Begun) {
		v.report.bad("%s: the ceremony ended before it began", fileTranscript)
	}
	v.report.good("held from %s to %s with %s; network %s", timeText(t.Begun), timeText(t.Ended),
		programWords(t.Program), orNone(t.Network.Interfaces))
	return true
}

// officers checks who signed before and after.
func (v *verifier) officers() {
	present := v.said.Officers
	before := len(v.report.Findings)
	seen := map[string]bool{}
	trusted := 0
	for _, o := range present {
		key, ok := v.given.officers[o.Name]
		switch {
		case !ok:
			v.report.bad("%q, who is said to have been present, is no officer of the file", o.Name)
		case seen[o.Name]:
			v.report.bad("officer %q is named twice", o.Name)
		case v.trust.Officers == nil:
			trusted++
		default:
			own, known := v.trust.Officers[o.Name]
			switch {
			case !known:
				v.report.good("officer %q was present and is none whose key you gave: not counted", o.Name)
			case !sameKey(key.public, own):
				v.report.bad("the key of officer %q in the file (%s) is not the one that you gave", o.Name, key.hash)
			default:
				trusted++
			}
		}
		seen[o.Name] = true
	}
	need := max(v.file.Officers.Threshold, v.trust.Threshold)
	if trusted < need {
		whose := "the ceremony needs"
		if need > v.file.Officers.Threshold {
			whose = "you demand"
		}
		v.report.bad("%s signed, and %s %d", things(trusted, "officer"), whose, need)
	}
	text := statement(v.file, v.said.Begun, present)
	if !bytes.Equal(text, v.files[fileStatement]) {
		v.report.bad("%s is not the statement of this ceremony", fileStatement)
	}
	if err := verifySignatures(v.files[fileStatementS], text, present, v.given.officers); err != nil {
		v.report.bad("%s: %v", fileStatementS, err)
	}
	signed, _ := v.get(fileSignatures)
	if err := verifySignatures(signed, closing(v.file, v.files[fileTranscript]), present, v.given.officers); err != nil {
		v.report.bad("%s: %v", fileSignatures, err)
	}
	if len(v.report.Findings) > before {
		return
	}
	var names []string
	for _, o := range present {
		names = append(names, o.Name)
	}
	whose := "the keys that you gave"
	if v.trust.Officers == nil {
		whose = "the keys in the ceremony file, for which nobody has vouched here"
	}
	v.report.good("%s signed before the first step and after the last (at least %d must); checked with %s", list(names), need, whose)
}

func sameJSON(a, b any) bool {
	one, errA := encode(a)
	other, errB := encode(b)
	return errA == nil && errB == nil && bytes.Equal(one, other)
}

// publicOnly stands for a key that is elsewhere, where only its public half is asked for.
type publicOnly struct{ public crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.public }

func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key is elsewhere")
}
