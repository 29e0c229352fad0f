package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// The examples of docs/rest.md are what the server does.
func TestTheRESTPagesExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	var session strings.Builder
	for _, block := range strings.Split(string(page), "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		session.WriteString(block)
	}
	if n := playShell(t, throngtest.Start(t, throngtest.Options{}), session.String()); n < 30 {
		t.Errorf("the page has only %d commands", n)
	}
}

// playShell runs the commands of a session, the lines after "$ ", in one shell
// against the server, and holds what each prints to the lines below it, in which
// … stands for anything within a line. It returns how many there were.
func playShell(t *testing.T, s *throngtest.Server, session string) int {
	t.Helper()
	const end = "--- end of the command ---"
	var script strings.Builder
	var commands, want []string
	server := strings.TrimSuffix(s.URL(""), "/")
	for line := range strings.Lines(strings.ReplaceAll(session, "http://127.0.0.1:8080", server)) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			script.WriteString(command + "echo; echo '" + end + "'\n")
			commands, want = append(commands, command), append(want, "")
		} else {
			want[len(want)-1] += line
		}
	}
	dir := t.TempDir()
	if err := os.Symlink(s.Binary, filepath.Join(dir, "throng")); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	shell.Dir, shell.Stderr = dir, t.Output()
	shell.Env = append(throngtest.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "THRONG_DATA_DIR="+s.DataDir)
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("the commands fail: %v\n%s", err, out)
	}
	got := strings.Split(string(out), end+"\n")
	for i := range want {
		if !matches(strings.TrimSpace(want[i]), strings.TrimSpace(got[i])) {
			t.Errorf("$ %sprints\n%s\nthe page says\n%s", commands[i], got[i], want[i])
		}
	}
	return len(commands)
}

// matches reports whether a text is as the pattern says, in which … stands for
// anything within a line.
func matches(pattern, text string) bool {
	expression := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), "…", ".*") + "$"
	return regexp.MustCompile(expression).MatchString(text)
}
