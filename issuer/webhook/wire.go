package webhook

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mintmark/issuer"
)

const (
	version   = 1
	mediaType = "application/json"
	maxReason = 200
)

type question struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	Server    string    `json:"server"`
	Operation string    `json:"operation"`
	Label     string    `json:"label"`
	Profile   string    `json:"profile"`
	Device    string    `json:"device"`
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"`
	Key       string    `json:"key"`
	Requester requester `json:"requester"`
	CSR       []byte    `json:"csr"`
}

type requester struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

func encode(q issuer.Question) ([]byte, error) {
	r := requester{Kind: q.Requester.Kind, Name: q.Requester.Name}
	if q.Requester.Address.IsValid() {
		r.Address = q.Requester.Address.String()
	}
	names := q.Names
	if names == nil {
		names = []string{}
	}
	data, err := json.Marshal(question{
		Version: version, ID: q.ID, At: q.At.UTC(), Server: q.Server, Operation: q.Operation, Label: q.Label, Profile: q.Profile,
		Device: q.Device, Subject: q.Subject, Names: names, Key: hex.EncodeToString(q.Key[:]), Requester: r, CSR: q.CSR,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the question: %w", err)
	}
	return data, nil
}

// decode reads an answer to the question of that id. It takes one object with
// exactly the known fields, each once: encoding/json would take the last of two
// decisions, and "Decision" for "decision".
func decode(data []byte, id string) (issuer.Verdict, error) {
	if len(data) > maxAnswer {
		return issuer.Verdict{}, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	fields, err := object(data)
	if err != nil {
		return issuer.Verdict{}, fmt.Errorf("reading the answer: %w", err)
	}
	number, ok := fields["version"].(json.Number)
	if !ok || number.String() != "1" {
		return issuer.Verdict{}, fmt.Errorf("version of the answer: must be the number %d", version)
	}
	text := func(name string) string {
		s, isText := fields[name].(string)
		ok = ok && isText
		return s
	}
	got, decision := text("id"), issuer.Decision(text("decision"))
	var reason string
	if _, has := fields["reason"]; has {
		reason = text("reason")
	}
	switch {
	case !ok:
		return issuer.Verdict{}, errors.New("id and decision, and reason if it is there, must be strings")
	case got != id:
		return issuer.Verdict{}, errors.New("the answer's id is not that of the question")
	case decision != issuer.Allow && decision != issuer.Deny && decision != issuer.Hold:
		return issuer.Verdict{}, fmt.Errorf("the decision %.40q is none of allow, deny, hold", decision)
	case len(reason) > maxReason:
		return issuer.Verdict{}, fmt.Errorf("the reason is longer than %d bytes", maxReason)
	case strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return issuer.Verdict{}, errors.New("the reason holds a character that cannot be printed")
	}
	return issuer.Verdict{Decision: decision, Reason: reason}, nil
}

// object reads one flat JSON object of strings and numbers.
func object(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	fields := make(map[string]any)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		switch name {
		case "version", "id", "decision", "reason":
		default:
			return nil, fmt.Errorf("unknown field %.40q", name)
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("field %s is there twice", name)
		}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch value.(type) {
		case string, json.Number:
		default:
			return nil, fmt.Errorf("field %s is neither a string nor a number", name)
		}
		fields[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return fields, nil
}
