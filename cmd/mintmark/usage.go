package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// cobraTexts are what cobra says of a command line, and what we say instead.
var cobraTexts = []struct {
	pattern *regexp.Regexp
	words   func(c *cobra.Command, part []string) string
}{
	{regexp.MustCompile(`^required flag\(s\) (.+) not set$`), func(_ *cobra.Command, part []string) string {
		return dashed(strings.Split(strings.ReplaceAll(part[1], `"`, ""), ", ")) + " must be given"
	}},
	{regexp.MustCompile(`^at least one of the flags in the group \[(.+)\] is required$`), func(_ *cobra.Command, part []string) string {
		return "one of " + dashed(strings.Fields(part[1])) + " must be given"
	}},
	{regexp.MustCompile(`^if any flags in the group \[.+\] are set none of the others can be; \[(.+)\] were all set$`), func(_ *cobra.Command, part []string) string {
		return "only one of " + dashed(strings.Fields(part[1])) + " can be given"
	}},
	{regexp.MustCompile(`^if any flags in the group \[(.+)\] are set they must all be set; missing \[(.+)\]$`), func(_ *cobra.Command, part []string) string {
		return dashed(strings.Fields(part[1])) + " belong together: add " + dashed(strings.Fields(part[2]))
	}},
	{regexp.MustCompile(`^accepts .*arg\(s\), received (\d+)$`), func(c *cobra.Command, part []string) string {
		if part[1] == "0" {
			return missing(c)
		}
		return "these are too many arguments: " + c.UseLine()
	}},
	{regexp.MustCompile(`^requires at least \d+ arg\(s\), only received \d+$`), func(c *cobra.Command, _ []string) string {
		return missing(c)
	}},
	{regexp.MustCompile(`^unknown command (".*") for ".*"$`), func(_ *cobra.Command, part []string) string {
		return fmt.Sprintf("this takes flags only, and not %s", part[1])
	}},
}

// missing names the arguments of a command that was given too few.
func missing(c *cobra.Command) string {
	var names []string
	for _, word := range strings.Fields(c.Use)[1:] {
		if strings.ContainsAny(word[:1], "-[(") {
			break
		}
		names = append(names, word)
	}
	text := "an argument is missing"
	if len(names) > 0 {
		text += " (" + strings.Join(names, " ") + ")"
	}
	return text + ": " + c.UseLine()
}

// inWords says in our words what cobra found wrong with a command line.
func inWords(c *cobra.Command, err error) error {
	for _, t := range cobraTexts {
		if part := t.pattern.FindStringSubmatch(err.Error()); part != nil {
			return errors.New(t.words(c, part))
		}
	}
	return err
}

// dashed lists flags.
func dashed(names []string) string {
	for i, name := range names {
		names[i] = "--" + name
	}
	n := len(names) - 1
	if n == 0 {
		return names[0]
	}
	return strings.Join(names[:n], ", ") + " and " + names[n]
}
