package batch

import (
	"fmt"
	"strings"
)

// fileNames gives each device of a part a file name that no other has, on any system: a
// device may be called ../../etc/passwd or CON, and two may differ in their case only.
type fileNames struct{ taken map[string]bool }

// reservedNames are no files under Windows, whatever follows a dot.
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
var reservedNames = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}

// maxFileName leaves room for what is added to a name.
const maxFileName = 200

// of returns the name of a device's files, without what says what they hold. Bytes other
// than letters, digits, "-", "_" and "." in ASCII are written as in a URL.
func (f *fileNames) of(device string) string {
	var b strings.Builder
	for i := range len(device) {
		c := device[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-' && i > 0, c == '_', c == '.' && i > 0 && i < len(device)-1:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if len(name) > maxFileName {
		name = name[:maxFileName]
	}
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	if reservedNames[stem] || len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) {
		name = "_" + name
	}
	if f.taken == nil {
		f.taken = make(map[string]bool)
	}
	unique := name
	for n := 2; f.taken[strings.ToLower(unique)]; n++ {
		unique = fmt.Sprintf("%s~%d", name, n)
	}
	f.taken[strings.ToLower(unique)] = true
	return unique
}
