package doctor

import (
	"fmt"
	"strings"

	"mintmark/dpsreg/attest"
)

// ParseGroup reads ID=FILE or ID=FILE,FILE: an enrollment group with the files of the
// certificates in its primary and secondary slot.
func ParseGroup(text string) (id string, files []string, err error) {
	id, list, found := strings.Cut(text, "=")
	if !found {
		return "", nil, fmt.Errorf("%q is not an enrollment group as in line-a=line.pem or line-a=old.pem,new.pem", cut(text))
	}
	if err := checkGroupID(id); err != nil {
		return "", nil, err
	}
	files = strings.Split(list, ",")
	if len(files) > 2 {
		return "", nil, fmt.Errorf("group %s has %d files; an enrollment group has two slots", id, len(files))
	}
	for _, f := range files {
		if f == "" {
			return "", nil, fmt.Errorf("group %s has a file without a name", id)
		}
	}
	return id, files, nil
}

// checkGroupID says what is wrong with the id of an enrollment group, which has the form
// of a registration id (https://learn.microsoft.com/azure/iot-dps/concepts-service).
func checkGroupID(id string) error {
	if err := attest.CheckRegistrationID(id); err != nil {
		return fmt.Errorf("%q is no id of an enrollment group: up to 128 letters, digits, - . _ and :, and a letter, a digit or - at the end", cut(id))
	}
	return nil
}

// Disable marks a group as disabled. Ids are case-insensitive.
func Disable(groups []attest.Group, id string) error {
	found := false
	for i := range groups {
		if strings.EqualFold(groups[i].ID, id) {
			groups[i].Disabled, found = true, true
		}
	}
	if !found {
		return fmt.Errorf("there is no group %q to be disabled", cut(id))
	}
	return nil
}
