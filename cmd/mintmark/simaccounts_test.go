package main

import (
	"os"
	"path/filepath"
	"testing"

	"mintmark/awsreg/awssim"
)

func TestParseAccounts(t *testing.T) {
	accounts, err := parseAccounts(`# made by hand
[default]
aws_account_id = 123456789012
aws_access_key_id = AKIA1
aws_secret_access_key = a=b

[profile other]
region = eu-central-1
aws_access_key_id=AKIA2
aws_secret_access_key=c
aws_account_id=210987654321
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []awssim.Account{
		{ID: "123456789012", AccessKeyID: "AKIA1", SecretAccessKey: "a=b"},
		{ID: "210987654321", AccessKeyID: "AKIA2", SecretAccessKey: "c"},
	}
	if len(accounts) != len(want) || accounts[0] != want[0] || accounts[1] != want[1] {
		t.Errorf("read %v, want %v", accounts, want)
	}
	for _, text := range []string{"", "aws_account_id = 1\n", "[default]\nnonsense\n"} {
		if _, err := parseAccounts(text); err == nil {
			t.Errorf("%q is read without a word", text)
		}
	}
}

func TestCredentials(t *testing.T) {
	name := filepath.Join(t.TempDir(), "credentials")
	if err := ensureCredentials(name, "123456789012"); err != nil {
		t.Fatal(err)
	}
	first, err := readAccounts(name)
	if err != nil {
		t.Fatal(err)
	}
	if a := first[0]; a.ID != "123456789012" || len(a.AccessKeyID) != 20 || len(a.SecretAccessKey) != 40 {
		t.Errorf("made %+v, which no AWS tool would take", a)
	}
	if err := ensureCredentials(name, "123456789012"); err != nil {
		t.Fatal(err)
	}
	if again, err := readAccounts(name); err != nil || again[0] != first[0] {
		t.Errorf("made again: %v, %v", again, err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readAccounts(name); err == nil {
		t.Error("secrets that others may read are taken")
	}
}
