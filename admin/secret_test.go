package admin

import (
	"slices"
	"strings"
	"testing"
)

func TestReadSecrets(t *testing.T) {
	list, err := ReadSecrets(strings.NewReader("device,secret\npress-1,QJ7K2M4N6P8R3T5V\n\"press-2\",\"with,comma;and\"\"more\"\r\n"))
	want := []DeviceSecret{{"press-1", "QJ7K2M4N6P8R3T5V"}, {"press-2", `with,comma;and"more`}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("read %v, %v", list, err)
	}
	if list, err = ReadSecrets(strings.NewReader("\xef\xbb\xbfdevice;secret\r\npress-1;QJ7K2M4N6P8R3T5V\r\n")); err != nil || !slices.Equal(list, want[:1]) {
		t.Errorf("a spreadsheet's file: %v, %v", list, err)
	}
	for text, wrong := range map[string]string{
		"":                                 "empty",
		"name;secret\n":                    "first line",
		"secret,device\n":                  "first line",
		"device,secret\n":                  "no row",
		"device,secret\npress-1,x1Y2z3\n":  "has 6 characters",
		"device,secret\npress-1,\n":        "has 0 characters",
		"device,secret\n,QJ7K2M4N6P8R3T5V": "device is missing",
		"device,secret\npress-1,QJ7K2M4N6P8R3T5V\npress-1,ABCDEFGHJKLMNPQR\n": `line 3: device "press-1" is in line 2`,
		"device,secret\npress-1,QJ7K2M4N6P8R3T5V\npress-2,QJ7K2M4N6P8R3T5V\n": "that of line 2",
		"device,secret\npress-1,QJ7K2M4N6P8R3T5V,x\n":                         "line 2: wrong number of fields",
		"device,secret\npress-1,QJ7K \"2M4N6P8R3T5V\n":                        "line 2: bare",
		"device,secret\npress-1,QJ7K 2M4N6P8R3T5V\n":                          "or a blank",
		"device,secret\npress-1,QJ7K2M4N6P8R3T5Ü\n":                           "not printable ASCII",
		"device,secret\npress-1,aaaaaaaaaaaaaaaa\n":                           "can be guessed",
		"device,secret\npress-1," + strings.Repeat("QJ7K2M4N6P8R3T5V", 17):    "256 are allowed",
		"device,secret\npress-1,\"QJ7K2M4N6P8R3T5V\npress-2,QJ7K2M4N6P8R3T5V": "line",
	} {
		_, err := ReadSecrets(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %q", text, err, wrong)
		}
		if err != nil && strings.Contains(err.Error(), "QJ7K") {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
}

// FuzzReadSecrets: whatever is read can be recorded, and no error holds what
// stands where a secret does.
func FuzzReadSecrets(f *testing.F) {
	for _, text := range []string{
		"device,secret\npress-1,QJ7K2M4N6P8R3T5V\n", "device,secret\n\"a\",\"b\nc\"\n", "\xef\xbb\xbfdevice,secret\n", "device,secret\na,QJ7K2M4N6P8R3T5V\na,QJ7K2M4N6P8R3T5V\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadSecrets(strings.NewReader(text))
		if err != nil && list != nil {
			t.Fatal("rows and an error")
		}
		seen := make(map[string]bool)
		for _, one := range list {
			if one.Device == "" || seen[one.Device] || CheckSecret(one.Secret) != nil {
				t.Fatalf("read %+v", one)
			}
			seen[one.Device] = true
		}
	})
}
