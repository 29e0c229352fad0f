package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/thronghq/throng/internal/config"
)

// userVerbs are what throng user does.
var userVerbs = []struct {
	name     string
	named    bool // takes a NAME
	password bool // sets one
	run      func(c *userCommand) error
}{
	{"add", true, true, addUser},
	{"passwd", true, true, setUserPassword},
	{"list", false, false, listUsers},
	{"disable", true, false, func(c *userCommand) error { return setUserDisabled(c, true) }},
	{"enable", true, false, func(c *userCommand) error { return setUserDisabled(c, false) }},
	{"delete", true, false, deleteUser},
}

const userVerbNames = "add, passwd, list, disable, enable or delete"

// userCommand is one call of throng user.
type userCommand struct {
	outside
	name   string
	admin  bool
	prefix string
	source passwordSource

	client *adminClient
}

// runUser looks after the accounts, beside a running server or without one.
func runUser(args []string, o outside) int {
	if len(args) == 0 {
		return usageError(o, "user", errors.New("user takes "+userVerbNames))
	}
	if args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(o.out, userUsage())
		return exitOK
	}
	for _, verb := range userVerbs {
		if verb.name != args[0] {
			continue
		}
		c := &userCommand{outside: o}
		set, operands := newFlagSet("user"), 0
		if verb.named {
			operands = 1
		}
		if verb.password {
			set.BoolVar(&c.source.stdin, "password-stdin", false, "")
			set.BoolVar(&c.source.generate, "generate", false, "")
		}
		switch verb.name {
		case "add":
			set.BoolVar(&c.admin, "admin", false, "")
		case "list":
			set.StringVar(&c.prefix, "prefix", "", "")
		}
		cfg, code, ok := loadConfigBeside(operands, set, args[1:], o, userUsage())
		switch c.name = set.Arg(0); {
		case !ok:
			return code
		case verb.named && c.name == "":
			return usageError(o, "user", fmt.Errorf("user %s takes the NAME of a user", verb.name))
		}
		return c.do(cfg, verb.name == "add", verb.run)
	}
	return usageError(o, "user", fmt.Errorf("user takes %s, not %q", userVerbNames, args[0]))
}

// do runs a verb with a client.
func (c *userCommand) do(cfg *config.Config, create bool, run func(*userCommand) error) (code int) {
	var err error
	if c.client, err = openAdmin(cfg, c.outside, create); err != nil {
		return failure(c.outside, err)
	}
	if err := errors.Join(run(c), c.client.close()); err != nil {
		return failure(c.outside, err)
	}
	return exitOK
}

// userJSON is a user as the API has it.
type userJSON struct {
	UserID      string `json:"userId"`
	Admin       bool   `json:"admin"`
	Disabled    bool   `json:"disabled"`
	CreatedAt   int64  `json:"createdAt"`
	LastLoginAt int64  `json:"lastLoginAt"`
}

func addUser(c *userCommand) error {
	password, err := c.source.read(c.outside, c.name)
	if err != nil {
		return err
	}
	var user userJSON
	body := map[string]any{"username": c.name, "password": password, "admin": c.admin}
	if err := c.client.call(http.MethodPost, "/users", body, &user); err != nil {
		return err
	}
	what := "user"
	if user.Admin {
		what = "administrator"
	}
	fmt.Fprintf(c.err, "%s %q was created\n", what, user.UserID)
	return c.source.show(c.outside, password)
}

func setUserPassword(c *userCommand) error {
	password, err := c.source.read(c.outside, c.name)
	if err != nil {
		return err
	}
	if err := c.client.call(http.MethodPut, c.path()+"/password", map[string]any{"password": password}, nil); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "the password of user %q was changed, and all sessions ended\n", c.name)
	return c.source.show(c.outside, password)
}

func setUserDisabled(c *userCommand, disabled bool) error {
	var user userJSON
	if err := c.client.call(http.MethodPatch, c.path(), map[string]any{"disabled": disabled}, &user); err != nil {
		return err
	}
	state := "enabled"
	if user.Disabled {
		state = "disabled"
	}
	fmt.Fprintf(c.err, "user %q is %s\n", user.UserID, state)
	return nil
}

func deleteUser(c *userCommand) error {
	if err := c.client.call(http.MethodDelete, c.path(), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "user %q was deleted\n", c.name)
	return nil
}

func listUsers(c *userCommand) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tADMIN\tSTATE\tCREATED\tLAST LOGIN")
	for cursor := ""; ; {
		var page struct {
			Users []userJSON `json:"users"`
			Next  string     `json:"next"`
		}
		query := url.Values{"limit": {"1000"}}
		if c.prefix != "" {
			query.Set("prefix", c.prefix)
		}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := c.client.call(http.MethodGet, "/users?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			admin, state := "no", "enabled"
			if u.Admin {
				admin = "yes"
			}
			if u.Disabled {
				state = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.UserID, admin, state, when(u.CreatedAt), when(u.LastLoginAt))
		}
		if cursor = page.Next; cursor == "" {
			return w.Flush()
		}
	}
}

// when writes a time in Unix ms for a person.
func when(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return time.UnixMilli(ms).UTC().Format(time.DateTime)
}

func (c *userCommand) path() string { return "/users/" + url.PathEscape(c.name) }

// call makes one request. An error that the API answers is returned in its
// words.
func (c *adminClient) call(method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://throng/api/v1"+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		var problem struct{ Detail string }
		if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
			return fmt.Errorf("the server answers %s", response.Status)
		}
		return errors.New(problem.Detail)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// newPassword returns a random password of 128 bits.
func newPassword() string { return rand.Text() }

func userUsage() string {
	return fmt.Sprintf(`Usage: throng user add NAME [--admin] [PASSWORD] [FLAGS]
       throng user passwd NAME [PASSWORD] [FLAGS]
       throng user list [--prefix PREFIX] [FLAGS]
       throng user disable|enable|delete NAME [FLAGS]

Looks after the accounts of the server whose data directory the flags name, also
while it runs: it is spoken to over throng.sock in that directory, which its own
user and root may do. Where no server runs, the store is opened instead.

add makes an account. The first administrator is made with --admin; others can
be made over the REST API. passwd replaces a password and ends all sessions of
the user. disable refuses the user from then on, and ends what the user has:
sessions, tokens, connections, API keys. delete does so, too, and frees the name;
messages stay.

The password is asked for on a terminal, unless PASSWORD is one of
  --password-stdin
        read it from standard input, to its end, without the last line end
  --generate
        make one up and print it on standard output

%s`, config.Usage())
}
