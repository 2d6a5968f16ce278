package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"mintmark/awsreg/awssim"
)

// ensureCredentials makes a credentials file unless there is one.
func ensureCredentials(name, account string) error {
	if exists(name) {
		return nil
	}
	if len(account) != 12 || strings.Trim(account, "0123456789") != "" {
		return usagef("--account %q is not an account id of 12 digits", account)
	}
	// An access key id has 20 characters of base 32, as AWS's have.
	text := fmt.Sprintf("[default]\naws_account_id = %s\naws_access_key_id = AKIA%s\naws_secret_access_key = %s\n",
		account, rand.Text()[:16], rand.Text()+rand.Text()[:14])
	return createSecret(name, text)
}

// readAccounts reads the accounts of a file in the format of the aws CLI's
// shared credentials, one a section, with aws_account_id beside the keys.
func readAccounts(name string) ([]awssim.Account, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds secrets and others may read it (mode %04o): chmod 600 %s", name, info.Mode().Perm(), name)
	}
	content, err := readFile(name, maxPEM)
	if err != nil {
		return nil, err
	}
	accounts, err := parseAccounts(string(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return accounts, nil
}

func parseAccounts(content string) ([]awssim.Account, error) {
	var accounts []awssim.Account
	var section string
	lines := bufio.NewScanner(strings.NewReader(content))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && line[len(line)-1] == ']' {
			section = line
			accounts = append(accounts, awssim.Account{})
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			return nil, fmt.Errorf("line %d is neither [section] nor key = value in one", n)
		}
		account := &accounts[len(accounts)-1]
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "aws_account_id":
			account.ID = value
		case "aws_access_key_id":
			account.AccessKeyID = value
		case "aws_secret_access_key":
			account.SecretAccessKey = value
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(accounts) == 0 {
		return nil, fmt.Errorf("there is no section with an account")
	}
	return accounts, nil
}
