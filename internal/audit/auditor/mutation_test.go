package auditor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/audit/heads"
)

// files are logs and heads as they lie on disk, by path.
type files map[string][]byte

func readAll(t testing.TB, dirs ...string) files {
	t.Helper()
	all := files{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			if all[path], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// write makes the disk hold these files instead of what it holds.
func (f files) write(t testing.TB, before files) {
	t.Helper()
	for path := range before {
		if _, ok := f[path]; !ok {
			os.Remove(path)
		}
	}
	for path, content := range f {
		if bytes.Equal(before[path], content) && before[path] != nil {
			continue
		}
		os.Remove(path) // heads are read-only
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (f files) paths(suffix string) []string {
	var all []string
	for path := range f {
		if strings.HasSuffix(path, suffix) {
			all = append(all, path)
		}
	}
	slices.Sort(all)
	return all
}

// logLine is a line as an attacker sees it: what stands before its hash.
type logLine struct {
	path string
	body string
}

func (f files) lines() []logLine {
	var all []logLine
	for _, path := range f.paths(".ndjson") {
		for line := range strings.Lines(string(f[path])) {
			all = append(all, logLine{path, line[:strings.LastIndex(line, `,"hash":"`)]})
		}
	}
	return all
}

var (
	batchOf  = regexp.MustCompile(`^\{"batch":(\d+),"rec":(\d+),"of":(\d+),"kind":"([a-z]+)"`)
	prevOf   = regexp.MustCompile(`"prev":"[0-9a-f]{64}"`)
	targetOf = regexp.MustCompile(`"target":\d+`)
	headsOf  = regexp.MustCompile(`"(heads|sequence)":\d+`)
)

// rechain writes lines as a log that is sound in itself: an attacker who can
// write the files can compute numbers, hashes and names of files, too.
func (f files) rechain(t testing.TB, lines []logLine) files {
	t.Helper()
	all := maps.Clone(f)
	for _, path := range f.paths(".ndjson") {
		delete(all, path)
	}
	var hash [32]byte
	batch, events, heads := 0, 0, 0
	var names []string
	renamed := map[string]string{}
	for _, l := range lines {
		m := batchOf.FindStringSubmatch(l.body)
		if m == nil {
			t.Fatalf("no line of a log: %q", l.body)
		}
		if m[2] == "0" {
			batch++
		}
		body := fmt.Sprintf(`{"batch":%d`, batch) + l.body[len(`{"batch":`)+len(m[1]):]
		switch m[4] {
		case "opened":
			body = prevOf.ReplaceAllString(body, `"prev":"`+hex.EncodeToString(hash[:])+`"`)
			body = headsOf.ReplaceAllString(body, fmt.Sprintf(`"heads":%d`, heads))
			renamed[l.path] = filepath.Join(filepath.Dir(l.path), fmt.Sprintf("issuance-%016d.ndjson", batch))
			names = append(names, renamed[l.path])
		case "aborted":
			body = targetOf.ReplaceAllString(body, fmt.Sprintf(`"target":%d`, events))
		case "head":
			heads++
			body = headsOf.ReplaceAllString(body, fmt.Sprintf(`"sequence":%d`, heads))
		case "truncated":
		default:
			events = batch
		}
		sum := sha256.Sum256(append(hash[:], body...))
		hash = sum
		path := names[len(names)-1]
		all[path] = append(all[path], fmt.Sprintf("%s,\"hash\":\"%x\"}\n", body, hash)...)
	}
	return all
}

// batches groups lines.
func batches(lines []logLine) [][]logLine {
	var all [][]logLine
	for _, l := range lines {
		if batchOf.FindStringSubmatch(l.body)[2] == "0" {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], l)
	}
	return all
}

func kindOf(batch []logLine) string { return batchOf.FindStringSubmatch(batch[0].body)[4] }

// A mutator returns changed files.
type mutator func(t testing.TB, r *rand.Rand, f, other files) files

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// two picks two that are not the same.
func two(r *rand.Rand, n int) (int, int) {
	i := r.IntN(n)
	return i, (i + 1 + r.IntN(n-1)) % n
}

func editByte(suffix string) mutator {
	return func(_ testing.TB, r *rand.Rand, f, _ files) files {
		path := pick(r, f.paths(suffix))
		content := bytes.Clone(f[path])
		content[r.IntN(len(content))] ^= byte(1 + r.IntN(255))
		return with(f, path, content)
	}
}

func with(f files, path string, content []byte) files {
	all := maps.Clone(f)
	all[path] = content
	return all
}

func deleteFile(suffix string) mutator {
	return func(_ testing.TB, r *rand.Rand, f, _ files) files {
		all := maps.Clone(f)
		delete(all, pick(r, f.paths(suffix)))
		return all
	}
}

func swapFiles(suffix string) mutator {
	return func(_ testing.TB, r *rand.Rand, f, _ files) files {
		paths := f.paths(suffix)
		i, j := two(r, len(paths))
		all := maps.Clone(f)
		all[paths[i]], all[paths[j]] = f[paths[j]], f[paths[i]]
		return all
	}
}

func changeLines(change func(r *rand.Rand, lines []string) []string) mutator {
	return func(_ testing.TB, r *rand.Rand, f, _ files) files {
		path := pick(r, f.paths(".ndjson"))
		lines := slices.Collect(strings.Lines(string(f[path])))
		return with(f, path, []byte(strings.Join(change(r, lines), "")))
	}
}

func truncateFile(suffix string) mutator {
	return func(_ testing.TB, r *rand.Rand, f, _ files) files {
		path := pick(r, f.paths(suffix))
		return with(f, path, f[path][:r.IntN(len(f[path]))])
	}
}

// cut removes the end of the log from some batch on.
func cut(t testing.TB, r *rand.Rand, f, _ files) files {
	all := batches(f.lines())
	return f.rechain(t, slices.Concat(all[:1+r.IntN(len(all)-1)]...))
}

// cutBoth removes the end of the log after some head, and all heads after that.
func cutBoth(t testing.TB, r *rand.Rand, f, _ files) files {
	names := f.paths(".head")
	keep := 1 + r.IntN(len(names)-1)
	seen := 0
	all := batches(f.lines())
	for i, b := range all {
		if kindOf(b) != "head" {
			continue
		}
		if seen++; seen == keep {
			all = all[:i+1]
			break
		}
	}
	changed := f.rechain(t, slices.Concat(all...))
	for _, name := range names[keep:] {
		delete(changed, name)
	}
	return changed
}

// splice puts batches of another log in the place of as many of this one, or
// between them.
func splice(t testing.TB, r *rand.Rand, f, other files) files {
	mine, theirs := batches(f.lines()), batches(other.lines())
	foreign := func(b []logLine) bool { k := kindOf(b); return k == "opened" || k == "head" || k == "aborted" }
	theirs = slices.DeleteFunc(theirs, foreign)
	at := 1 + r.IntN(len(mine)-2) // a head is behind it
	from := r.IntN(len(theirs))
	piece := slices.Clone(theirs[from:min(len(theirs), from+1+r.IntN(5))])
	for i, b := range piece {
		piece[i] = slices.Clone(b)
		for n := range piece[i] {
			piece[i][n].path = mine[at][0].path
		}
	}
	rest := at
	for r.IntN(2) == 0 && rest < len(mine)-1 && kindOf(mine[rest]) != "head" && kindOf(mine[rest]) != "opened" {
		rest++
	}
	if kindOf(mine[at]) == "aborted" {
		at, rest = at+1, max(rest, at+1)
	}
	return f.rechain(t, slices.Concat(slices.Concat(mine[:at], piece, mine[rest:])...))
}

// rewrite changes, drops or moves a batch before the newest head and computes
// the chain anew.
func rewrite(t testing.TB, r *rand.Rand, f, _ files) files {
	all := batches(f.lines())
	for {
		i := 1 + r.IntN(len(all)-2)
		switch kindOf(all[i]) {
		case "head", "opened", "aborted":
			continue
		}
		if i+1 < len(all) && kindOf(all[i+1]) == "aborted" {
			continue
		}
		switch r.IntN(3) {
		case 0: // what it says
			b := slices.Clone(all[i])
			n := r.IntN(len(b))
			b[n].body = strings.Replace(b[n].body, `"at":"2026-`, fmt.Sprintf(`"at":"20%d-`, 27+r.IntN(60)), 1)
			all[i] = b
		case 1: // that it was
			all = slices.Delete(all, i, i+1)
		default: // when it was
			if k := kindOf(all[i+1]); k == "head" || k == "opened" || i+2 < len(all) && kindOf(all[i+2]) == "aborted" || all[i][0].path != all[i+1][0].path {
				continue
			}
			all[i], all[i+1] = all[i+1], all[i]
		}
		return f.rechain(t, slices.Concat(all...))
	}
}

// foreignHead puts a head of another server in the place of one of ours.
func foreignHead(_ testing.TB, r *rand.Rand, f, other files) files {
	return with(f, pick(r, f.paths(".head")), other[pick(r, other.paths(".head"))])
}

func renameHead(_ testing.TB, r *rand.Rand, f, _ files) files {
	path := pick(r, f.paths(".head"))
	all := maps.Clone(f)
	delete(all, path)
	name := fmt.Sprintf("alpha-%016d.head", 100+r.IntN(1000))
	if r.IntN(2) == 0 {
		name = "alpha-7.head"
	}
	all[filepath.Join(filepath.Dir(path), name)] = f[path]
	return all
}

// double puts a batch before the newest head a second time.
func double(t testing.TB, r *rand.Rand, f, _ files) files {
	all := batches(f.lines())
	for {
		i, at := 1+r.IntN(len(all)-2), 1+r.IntN(len(all)-2)
		if k := kindOf(all[i]); k == "opened" || k == "aborted" || kindOf(all[at]) == "aborted" {
			continue
		}
		copied := slices.Clone(all[i])
		for n := range copied {
			copied[n].path = all[at-1][0].path
		}
		return f.rechain(t, slices.Concat(slices.Insert(all, at, copied)...))
	}
}

// abort says of a batch before the newest head that it never was.
func abort(t testing.TB, r *rand.Rand, f, _ files) files {
	all := batches(f.lines())
	for {
		i := 1 + r.IntN(len(all)-2)
		switch k := kindOf(all[i]); {
		case k == "opened" || k == "head" || k == "aborted" || kindOf(all[i+1]) == "aborted":
			continue
		}
		line := logLine{all[i][0].path, `{"batch":0,"rec":0,"of":1,"kind":"aborted","at":"2026-03-04T05:06:07Z","target":0`}
		return f.rechain(t, slices.Concat(slices.Insert(all, i+1, []logLine{line})...))
	}
}

// rename makes the log another server's, or its epochs.
func rename(t testing.TB, r *rand.Rand, f, _ files) files {
	lines := f.lines()
	kind := pick(r, []string{"opened", "intent"})
	for i := range lines {
		if strings.Contains(lines[i].body, `"kind":"`+kind+`"`) {
			lines[i].body = strings.Replace(lines[i].body, `"server":"alpha"`, `"server":"beta"`, 1)
		}
	}
	return f.rechain(t, lines)
}

// behead removes the first files and counts on from nothing.
func behead(t testing.TB, r *rand.Rand, f, _ files) files {
	paths := f.paths(".ndjson")
	first := paths[1+r.IntN(len(paths)-1)]
	return f.rechain(t, slices.DeleteFunc(f.lines(), func(l logLine) bool { return l.path < first }))
}

// respell writes a line in another way that says the same.
func respell(t testing.TB, r *rand.Rand, f, _ files) files {
	lines := f.lines()
	i := r.IntN(len(lines))
	body := lines[i].body
	switch r.IntN(4) {
	case 0: // a field twice
		body = strings.Replace(body, `,"at":"`, `,"at":"2020-01-01T00:00:00Z","at":"`, 1)
	case 1: // in another case
		body = strings.Replace(body, `,"at":"`, `,"At":"`, 1)
	case 2:
		body = strings.Replace(body, `,"at":"2`, `,"at":"\u0032`, 1)
	default:
		body += "\r"
	}
	lines[i].body = body
	return f.rechain(t, lines)
}

// forge signs another head in the place of one, with the server's own key.
func forge(w *world) mutator {
	return func(t testing.TB, r *rand.Rand, f, _ files) files {
		path := pick(r, f.paths(".head"))
		said, err := heads.Open(f[path], w.config().Keys)
		if err != nil {
			t.Fatal(err)
		}
		switch r.IntN(4) {
		case 0:
			said.Position.Hash[r.IntN(32)] ^= 1
		case 1:
			said.Position.Batch++
		case 2:
			said.Sequence++
		default:
			said.At = said.At.Add(1)
		}
		signed, err := heads.Sign(said, w.key)
		if err != nil {
			t.Fatal(err)
		}
		return with(f, path, signed)
	}
}

// A thousand mutations of log and heads, and none that is not found. Those that
// leave log and heads in agreement are found by the age of the newest head.
func TestMutations(t *testing.T) {
	mutators := []struct {
		name string
		mutator
	}{
		{"edit of a byte of the log", editByte(".ndjson")},
		{"edit of a byte of a head", editByte(".head")},
		{"deletion of a line", changeLines(func(r *rand.Rand, lines []string) []string {
			i := r.IntN(len(lines))
			return slices.Delete(lines, i, i+1)
		})},
		{"doubling of a line", changeLines(func(r *rand.Rand, lines []string) []string {
			i := r.IntN(len(lines))
			return slices.Insert(lines, r.IntN(len(lines)), lines[i])
		})},
		{"exchange of two lines", changeLines(func(r *rand.Rand, lines []string) []string {
			i, j := two(r, len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			return lines
		})},
		{"deletion of a file of the log", deleteFile(".ndjson")},
		{"exchange of two files of the log", swapFiles(".ndjson")},
		{"deletion of a head", deleteFile(".head")},
		{"exchange of two heads", swapFiles(".head")},
		{"renaming of a head", renameHead},
		{"truncation of a file of the log", truncateFile(".ndjson")},
		{"truncation of a head", truncateFile(".head")},
		{"truncation of the log", cut},
		{"truncation of log and heads alike", cutBoth},
		{"splice of another log", splice},
		{"a head of another server", foreignHead},
		{"rewriting before the newest head", rewrite},
		{"doubling of a batch", double},
		{"a batch said to be aborted", abort},
		{"the log of another server", rename},
		{"removal of the first files", behead},
		{"another spelling", respell},
		{"a forged head", nil},
	}
	w, stranger := eventful(t, "alpha"), eventful(t, "beta")
	mutators[len(mutators)-1].mutator = forge(w)
	epoch := eventful(t, "alpha") // of the same server, under another key
	original := readAll(t, w.dir, w.heads)
	others := []files{readAll(t, stranger.dir, stranger.heads), readAll(t, epoch.dir, epoch.heads)}
	c := w.config()
	clean(t, c)
	if same := original.rechain(t, original.lines()); !maps.EqualFunc(same, original, bytes.Equal) {
		t.Fatal("the attacker of this test cannot compute the chain")
	}

	r := rand.New(rand.NewPCG(7, 7))
	found := map[string]int{}
	const mutations = 1000
	for n := range mutations {
		m := mutators[n%len(mutators)]
		var changed files
		for changed == nil || maps.EqualFunc(changed, original, bytes.Equal) {
			changed = m.mutator(t, r, original, pick(r, others))
		}
		changed.write(t, original)
		report, err := Verify(t.Context(), c)
		if err == nil && report.Found == 0 {
			t.Errorf("mutation %d was not found: %s", n, m.name)
		} else {
			found[m.name]++
		}
		original.write(t, changed)
	}
	total := 0
	for _, m := range mutators {
		total += found[m.name]
	}
	t.Logf("found %d of %d mutations: %v", total, mutations, found)
	clean(t, c)
}

// What the chain alone does not show: the attacker of rewrite, splice and cut
// leaves a log that is sound in itself, or the test above proves nothing.
func TestMutationsAreNotClumsy(t *testing.T) {
	w := eventful(t, "alpha")
	other := eventful(t, "beta")
	original, foreign := readAll(t, w.dir, w.heads), readAll(t, other.dir, other.heads)
	r := rand.New(rand.NewPCG(1, 1))
	for name, m := range map[string]mutator{"rewrite": rewrite, "cut": cut, "cutBoth": cutBoth, "splice": splice} {
		sound := 0
		for range 20 {
			changed := m(t, r, original, foreign)
			changed.write(t, original)
			c := w.config()
			c.Heads = nil
			report, err := Verify(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Findings) == 0 || !strings.Contains(fmt.Sprint(report.Findings), "hash") {
				sound++
			}
			original.write(t, changed)
		}
		if sound != 20 {
			t.Errorf("%s: only %d of 20 leave the chain sound", name, sound)
		}
	}
}
