package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how many columns a help text has: those of a terminal.
const helpWidth = 80

// usage prints what comes after the description of a command. It is cobra's own text,
// wrapped, and without a template: package text/template would grow the program by
// a third.
func usage(c *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if c.Runnable() {
		b.WriteString(wrapped(c.UseLine()))
	}
	if c.HasAvailableSubCommands() {
		b.WriteString(wrapped(c.CommandPath() + " [command]"))
	}
	if c.HasExample() {
		b.WriteString("\nExamples:\n" + foldExamples(c.Example))
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("\nAvailable Commands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(&b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", c.LocalFlags().FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableInheritedFlags() {
		fmt.Fprintf(&b, "\nGlobal Flags:\n%s", c.InheritedFlags().FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s [command] --help\" for more about a command.\n", c.CommandPath())
	}
	_, err := fmt.Fprint(c.OutOrStderr(), b.String())
	return err
}

// wrapped is a line of the usage, broken between words where it is too long.
func wrapped(line string) string { return fold(shellParts(line), "\n      ") }

// continued is how a line of a shell goes on in the next one.
var continued = regexp.MustCompile(` \\\n +`)

// foldExamples breaks the command lines of examples where they are too long, as a shell
// takes them.
func foldExamples(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(continued.ReplaceAllString(text, " "), "\n") {
		b.WriteString(fold(shellParts(strings.TrimSpace(line)), " \\\n    "))
	}
	return b.String()
}

// fold puts parts into lines, with what breaks a line between them.
func fold(parts []string, breaks string) string {
	tail, head, _ := strings.Cut(breaks, "\n")
	var b strings.Builder
	column := 0
	for i, part := range parts {
		space := " "
		switch {
		case i == 0:
			space = "  "
		case column+1+len(part)+len(tail) > helpWidth:
			b.WriteString(tail + "\n")
			space, column = head, 0
		}
		n, _ := b.WriteString(space + part)
		column += n
	}
	return b.String() + "\n"
}

// shellParts takes a command line apart where it may be broken: between words, but not
// within quotes, and not between a flag and its value.
func shellParts(line string) []string {
	var parts []string
	quote := byte(0)
	start := 0
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ' ':
			if word := line[start:i]; !strings.HasPrefix(word, "--") || strings.Contains(word, " ") || line[i+1] == '-' {
				parts = append(parts, word)
				start = i + 1
			}
		}
	}
	return append(parts, line[start:])
}
