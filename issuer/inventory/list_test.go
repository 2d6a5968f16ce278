package inventory

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// read returns the rows and the texts of the errors of a list.
func read(text string, format Format) (rows []ledger.Listing, wrong []string) {
	r, err := NewReader(strings.NewReader(text), format)
	if err != nil {
		return nil, []string{err.Error()}
	}
	for {
		l, err := r.Next()
		var line *LineError
		switch {
		case errors.Is(err, io.EOF):
			return rows, wrong
		case errors.As(err, &line):
			wrong = append(wrong, line.Error())
		case err != nil:
			return rows, append(wrong, "reading: "+err.Error())
		default:
			rows = append(rows, l)
		}
	}
}

func good(t *testing.T, text string, format Format, want ...ledger.Listing) {
	t.Helper()
	rows, wrong := read(text, format)
	if len(wrong) > 0 || !slices.EqualFunc(rows, want, same) {
		t.Errorf("%q: got %+v and errors %q, want %+v", text, rows, wrong, want)
	}
}

func same(a, b ledger.Listing) bool {
	return a.Row == b.Row && a.Device == b.Device && a.Order == b.Order && a.Product == b.Product && a.Key == b.Key && maps.Equal(a.Fields, b.Fields)
}

func bad(t *testing.T, text string, format Format, want ...string) {
	t.Helper()
	if rows, wrong := read(text, format); !slices.Equal(wrong, want) {
		t.Errorf("%.100q: got rows %+v and errors\n%s\nwant\n%s", text, rows, strings.Join(wrong, "\n"), strings.Join(want, "\n"))
	}
}

func TestCSV(t *testing.T) {
	a1 := ledger.Listing{Row: 1, Device: "a1", Product: "pump", Order: "WO-1", Fields: map[string]string{"mac": "00:01"}}
	good(t, "device,product,order,mac\na1,pump,WO-1,00:01\n", CSV, a1)
	good(t, "device;product;order;mac\r\na1;pump;WO-1;00:01\r\n", CSV, a1)
	good(t, "device\tproduct\torder\tmac\na1\tpump\tWO-1\t00:01", CSV, a1) // no end of line
	good(t, "\ufeffdevice,product,order,mac\na1,pump,WO-1,00:01\n", CSV, a1)
	good(t, "\n\r\n\"device\",\"product\",\"order\",\"mac\"\n\n\n\"a1\",\"pump\",\"WO-1\",\"00:01\"\n\n", CSV, a1)
	good(t, "device\na1\n\na2\n", CSV, ledger.Listing{Row: 1, Device: "a1"}, ledger.Listing{Row: 2, Device: "a2"})
	good(t, "device,product\na1,\n,\na2,\"say \"\"hi\"\", ok\"\n", CSV,
		ledger.Listing{Row: 1, Device: "a1"}, ledger.Listing{Row: 2, Device: "a2", Product: `say "hi", ok`})
	good(t, "device,\"a,b;c\",Größe\na1,x,ß\n", CSV, ledger.Listing{Row: 1, Device: "a1", Fields: map[string]string{"a,b;c": "x", "Größe": "ß"}})

	bad(t, "", CSV, "header (line 1): the list is empty: its first line must name the columns, device among them")
	bad(t, "\n\n", CSV, "header (line 1): the list is empty: its first line must name the columns, device among them")
	bad(t, "device\n", CSV, "row 1 (line 1): the list has no row: there is nothing to import")
	bad(t, "a1,pump\na2,pump\n", CSV, "header (line 1): there is no column device; the first line must name the columns")
	bad(t, "\nDevice,x\na1,\n", CSV, `header (line 2): column "Device": did you mean "device"?`)
	bad(t, "device, order\na1,\n", CSV, `header (line 1): column " order": did you mean "order"?`)
	bad(t, "device,mac,mac\na1,,\n", CSV, `header (line 1): column "mac" is there twice`)
	bad(t, "device,device\na1,a1\n", CSV, `header (line 1): column "device" is there twice`)
	bad(t, "device,,x\na1,,\n", CSV, "header (line 1): a column has no name")
	bad(t, "device,"+strings.Repeat("x", 65)+"\n", CSV, `header (line 1): column "`+strings.Repeat("x", 65)+`": its name has 65 bytes; 64 are allowed`)
	bad(t, "device,\"a\nb\"\na1,\n", CSV, `header (line 1): column "a\nb": its name holds the character U+000A, which cannot be printed`)
	many := "device"
	for i := range 33 {
		many += fmt.Sprintf(",f%d", i)
	}
	bad(t, many+"\n", CSV, "header (line 1): there are more than 32 columns of your own")
	bad(t, "\xff\xfed\x00e\x00", CSV, "header (line 1): the list is UTF-16: save it as UTF-8")
	bad(t, "PK\x03\x04", CSV, "header (line 1): the list is compressed: unpack it first (a spreadsheet is saved as CSV)")
	bad(t, "\x1f\x8b\x08", NDJSON, "header (line 1): the list is compressed: unpack it first (a spreadsheet is saved as CSV)")

	identifier := "the identifier must be 1 to 64 letters, digits and . _ : -, beginning and ending with a letter or digit"
	bad(t, "device\na1\nx y\n\na3,\n-\n", CSV,
		`row 2 (line 3): device "x y": `+identifier,
		`row 3 (line 5): device "a3": it has 2 columns, the header has 1`,
		`row 4 (line 6): device "-": `+identifier)
	bad(t, "device,product,order\n,p,\na1,\xff,\na2,p,W:1\n", CSV,
		"row 1 (line 2): device is missing",
		`row 2 (line 3): device "a1": product is not UTF-8`,
		`row 3 (line 4): device "a2": order must be 1 to 64 letters, digits and . _ -, beginning and ending with a letter or digit`)
	bad(t, "device,mac\n\"a1\",\"x\ny\"\na2,"+strings.Repeat("x", 1001)+"\n", CSV,
		`row 1 (line 2): device "a1": mac holds the character U+000A, which cannot be printed`,
		`row 2 (line 4): device "a2": mac has 1001 bytes; 1000 are allowed`)

	// Behind these, rows cannot be told apart.
	bad(t, "device,mac\na1,x\"y\na2,\n", CSV, `row 1 (line 2): a field holds a quote (") but is not in quotes: put it in quotes and double those inside`)
	bad(t, "device,mac\na1,\"x\"y\na2,\n", CSV, "row 1 (line 2): something follows the closing quote of a field; a quote inside of one is doubled")
	bad(t, "device,mac\na1,\na2,\"x\na3,\n", CSV, "row 2 (line 3): a quote is not closed")
	bad(t, "device,mac\na1,\"x"+strings.Repeat("\na2,y", MaxRow), CSV, "row 1 (line 2): it has more than 65536 bytes; is a quote not closed?")
	bad(t, "device,mac\na1,"+strings.Repeat("x", MaxRow)+"\na2,\n", CSV, "row 1 (line 2): it has more than 65536 bytes")
	bad(t, "device"+strings.Repeat(",", MaxRow), CSV, "header (line 1): it has more than 65536 bytes")
}

func TestNDJSON(t *testing.T) {
	good(t, "{\"device\":\"a1\",\"product\":\"pump\",\"order\":\"WO-1\",\"mac\":\"00:01\"}\n", NDJSON,
		ledger.Listing{Row: 1, Device: "a1", Product: "pump", Order: "WO-1", Fields: map[string]string{"mac": "00:01"}})
	good(t, "\ufeff\n {\"device\" : 4711, \"batch\": 1e3, \"note\": \"\"} \r\n\n{\"device\":\"a2\"}", NDJSON,
		ledger.Listing{Row: 1, Device: "4711", Fields: map[string]string{"batch": "1e3"}}, ledger.Listing{Row: 2, Device: "a2"})

	bad(t, "", NDJSON, "row 1 (line 1): the list has no row: there is nothing to import")
	bad(t, "device\na1\n", NDJSON, "row 1 (line 1): it is not a JSON object; each line must hold a whole one",
		"row 2 (line 2): it is not a JSON object; each line must hold a whole one")
	bad(t, "[\n{\"device\":\"a1\"},\n", NDJSON, "row 1 (line 1): it is not a JSON object; each line must hold a whole one",
		`row 2 (line 2): device "a1": something follows the object`)
	bad(t, `{"device":"a1"`+"\n", NDJSON, `row 1 (line 1): device "a1": the object is not closed; each line must hold a whole one`)
	bad(t, `{"device":"a1","x":true}`+"\n"+`{"device":"a1","x":null}`+"\n"+`{"device":"a1","x":{"y":1}}`, NDJSON,
		`row 1 (line 1): device "a1": the value of "x" is neither a string nor a number`,
		`row 2 (line 2): device "a1": the value of "x" is neither a string nor a number`,
		`row 3 (line 3): device "a1": the value of "x" is neither a string nor a number`)
	bad(t, `{"device":"a1","device":"a2"}`, NDJSON, `row 1 (line 1): device "a1": "device" is there twice`)
	bad(t, `{"x":"1","x":"1"}`, NDJSON, `row 1 (line 1): "x" is there twice`)
	bad(t, `{"DEVICE":"a1"}`, NDJSON, `row 1 (line 1): column "DEVICE": did you mean "device"?`)
	bad(t, "{\"device\":\"a\xff\"}", NDJSON, "row 1 (line 1): it is not UTF-8")
	// A line that is too long is skipped to its end.
	bad(t, `{"device":"`+strings.Repeat("a", 3*MaxRow)+"\"}\n{\"device\":\"-\"}\n", NDJSON, "row 1 (line 1): it has more than 65536 bytes",
		`row 2 (line 2): device "-": the identifier must be 1 to 64 letters, digits and . _ : -, beginning and ending with a letter or digit`)
}

func TestListKeys(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(pkitest.Key(t, "P-256").Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	digits := hex.EncodeToString(sum[:])
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, fmt.Sprintf("%02X", b))
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	want := ledger.Listing{Row: 1, Device: "a1", Key: sum}
	good(t, "device,key_sha256\na1,"+digits+"\n", CSV, want)
	good(t, "device,key_sha256\na1,"+strings.Join(pairs, ":")+"\n", CSV, want)
	good(t, "device,public_key\na1,\""+text+"\"\n", CSV, want)
	good(t, "device,public_key,key_sha256\na1,"+base64.StdEncoding.EncodeToString(der)+","+digits+"\n", CSV, want)
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	good(t, `{"device":"a1","public_key":`+string(quoted)+`}`, NDJSON, want)

	is := `row 1 (line 2): device "a1": `
	bad(t, "device,key_sha256\na1,"+digits[1:]+"\n", CSV, is+"key_sha256 must be the 64 hexadecimal digits of a SHA-256")
	bad(t, "device,key_sha256\na1,"+strings.Repeat("x", 64)+"\n", CSV, is+"key_sha256 must be the 64 hexadecimal digits of a SHA-256")
	bad(t, "device,key_sha256\na1,"+strings.Repeat("0", 64)+"\n", CSV, is+"key_sha256 is zero, which is no key's hash: leave it out to admit any key")
	bad(t, "device,key_sha256,public_key\na1,"+strings.Repeat("1", 64)+","+base64.StdEncoding.EncodeToString(der)+"\n", CSV, is+"key_sha256 is not the hash of public_key")
	bad(t, "device,public_key\na1,aGVsbG8=\n", CSV, is+"public_key is not the SubjectPublicKeyInfo of a public key")
	bad(t, "device,public_key\na1,%%%\n", CSV, is+"public_key is neither PEM nor base64")
	bad(t, "device,public_key\na1,\""+strings.ReplaceAll(text, "PUBLIC KEY", "CERTIFICATE")+"\"\n", CSV, is+`public_key is PEM of the type "CERTIFICATE", not PUBLIC KEY`)
	bad(t, "device,public_key\na1,"+strings.ReplaceAll(text, "\n", " ")+"\n", CSV, is+"public_key is not PEM: the lines of PEM must be kept, in quotes")
	bad(t, "device,public_key\na1,\""+text+text+"\"\n", CSV, is+"public_key has something behind the PEM")
}

// FuzzCSV: what is read without an error is read as the same rows after it was
// written as NDJSON.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"device,order,product,mac\na1,WO-1,pump,00:01\n", "device;x\r\n\"a\"\"1\";\"y\nz\"\r\n", "\ufeffdevice\tx\na1\t\n",
		"device,key_sha256\na1," + strings.Repeat("ab", 32) + "\n", "device\n\"", "device,\na,\n", "device,x\na1,\"b\"c\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { roundTrip(t, text, CSV) })
}

// FuzzNDJSON: as FuzzCSV.
func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		`{"device":"a1","order":"WO-1","mac":"00:01"}`, `{"device":1}` + "\n\n" + `{"device":"b","x":1e9}`, `{"device":"a`, `[]`, `{"device":"\ud800"}`,
		`{"device":"a1"}{`, `{"a":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { roundTrip(t, text, NDJSON) })
}

func roundTrip(t *testing.T, text string, format Format) {
	rows, wrong := read(text, format)
	if len(rows) == 0 && len(wrong) == 0 {
		t.Fatal("neither a row nor an error")
	}
	var again strings.Builder
	for i, l := range rows {
		if CheckDevice(l.Device) != nil || len(l.Fields) > MaxFields || l.Row < 1 || i > 0 && l.Row <= rows[i-1].Row {
			t.Fatalf("row %+v", l)
		}
		object := map[string]string{"device": l.Device}
		maps.Copy(object, l.Fields)
		for name, value := range map[string]string{"order": l.Order, "product": l.Product} {
			if value != "" {
				object[name] = value
			}
		}
		if l.Key != [32]byte{} {
			object["key_sha256"] = hex.EncodeToString(l.Key[:])
		}
		line, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		again.Write(append(line, '\n'))
	}
	if len(rows) > 0 && len(wrong) == 0 {
		read, wrong := read(again.String(), NDJSON)
		if len(wrong) > 0 || !slices.EqualFunc(rows, read, same) {
			t.Fatalf("%q: rows %+v are read again as %+v, %q", text, rows, read, wrong)
		}
	}
}
