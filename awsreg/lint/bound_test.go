package lint

import (
	"errors"
	"strings"
	"testing"
)

// TestDeep: what is nested deep is read in no more time than what is flat; a
// parser that tries twice at each level would never end.
func TestDeep(t *testing.T) {
	for _, opening := range []string{"(", "[", "{", "{[", "f(", "{a:", "x[", "({", "=>{", "if(x){", "a.b(c=", "`${", "f'{", "def f():\n"} {
		for _, name := range []string{"a.py", "a.ts", "a.json", "a.yaml"} {
			data := []byte(strings.Repeat(opening, 5000))
			if _, err := Check(name, data, Options{}); err != nil {
				t.Errorf("%s of %q: %v", name, opening, err)
			}
		}
	}
	indented := &strings.Builder{}
	for i := range 200 {
		indented.WriteString(strings.Repeat(" ", i) + "if x:\n")
	}
	found, err := Check("a.py", []byte(indented.String()), Options{})
	if err != nil || len(found) != 1 || found[0].Rule != "syntax" {
		t.Errorf("code nested 200 deep: %v, %v", found, err)
	}
}

// TestRefusedInput: what is too much or nothing known is refused in words.
func TestRefusedInput(t *testing.T) {
	for name, c := range map[string]struct {
		files []File
		want  string
	}{
		"too long":     {[]File{{"a.json", make([]byte, MaxFile+1)}}, "more than"},
		"too many":     {make([]File, MaxFiles+1), "more than"},
		"nothing":      {[]File{{"photo", []byte{0xff, 0xd8, 0xff}}}, ErrUnknown.Error()},
		"plain prose":  {[]File{{"letter", []byte("Dear press,\n")}}, ErrUnknown.Error()},
		"empty":        {[]File{{"empty", nil}}, ErrUnknown.Error()},
		"second of it": {[]File{{"a.json", []byte("{}")}, {"photo", []byte{0}}}, "photo"},
	} {
		_, err := CheckAll(c.files, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Check("photo", []byte{0}, Options{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown file: %v", err)
	}
}
