package main

import (
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: "bash:  source <(paraxialctl completion bash)\n" +
			"zsh:   source <(paraxialctl completion zsh)\n" +
			"fish:  paraxialctl completion fish | source",
		Action: p.completion,
	}
}

func (p *program) completion(c *cli.Context) error {
	scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	script, ok := scripts[c.Args().First()]
	if !ok || c.NArg() != 1 {
		return p.misuse(c, "completion takes one of bash, zsh and fish")
	}
	t, err := template.New("completion").Funcs(template.FuncMap{"join": strings.Join, "quote": fishQuote}).Parse(script)
	if err != nil {
		return err
	}
	return t.Execute(p.out, completed(p.app))
}

// completedCommand is what a shell offers after a command.
type completedCommand struct {
	Name, Usage string
	Flags       []completedFlag
	Words       []string // arguments
	Files       bool     // arguments are files
	Interfaces  bool     // arguments are network interfaces
}

type completedFlag struct {
	Name, Usage string
	TakesValue  bool
}

// Options returns the flags as they are typed.
func (c completedCommand) Options() []string {
	var out []string
	for _, f := range c.Flags {
		out = append(out, "--"+f.Name)
	}
	return out
}

// completed describes the commands, from what the program itself reads.
func completed(app *cli.App) []completedCommand {
	words := map[string][]string{
		"list":       {"blocks", "allows"},
		"export":     {"blocks", "allows"},
		"completion": {"bash", "zsh", "fish"},
	}
	var out []completedCommand
	for _, c := range app.Commands {
		if c.Hidden || c.Name == "help" {
			continue
		}
		command := completedCommand{Name: c.Name, Usage: c.Usage, Words: words[c.Name], Files: c.Name == "import", Interfaces: c.Name == "doctor"}
		for _, f := range append(globalFlags(), c.Flags...) {
			if f.Names()[0] == "help" {
				continue
			}
			d := f.(cli.DocGenerationFlag)
			command.Flags = append(command.Flags, completedFlag{f.Names()[0], strings.ReplaceAll(d.GetUsage(), "`", ""), d.TakesValue()})
		}
		out = append(out, command)
	}
	return out
}

// fishQuote quotes s for fish, in which only \ and ' are special inside '…'.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

const bashScript = `# paraxialctl completion for bash
_paraxialctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word cmd= words= files=
    case $prev in
        -o|--output) COMPREPLY=($(compgen -W "table json" -- "$cur")); return ;;
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
{{- range .}}
            {{.Name}}) cmd=$word words="{{join .Options " "}}{{range .Words}} {{.}}{{end}}"{{if .Files}} files=1{{end}}{{if .Interfaces}} words+=" $(ls /sys/class/net)"{{end}}; break ;;
{{- end}}
        esac
    done
    [[ $cmd ]] || words="{{range .}}{{.Name}} {{end}}--socket --output --help --version"
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    [[ $files ]] && COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -F _paraxialctl paraxialctl
`

const zshScript = `#compdef paraxialctl
_paraxialctl() {
    local word cmd
    case $words[CURRENT-1] in
        (-o|--output) compadd table json; return ;;
        (--socket) _files; return ;;
    esac
    for word in ${words[2,CURRENT-1]}; do
        case $word in
{{- range .}}
            ({{.Name}}) cmd=$word; compadd -- {{join .Options " "}}{{range .Words}} {{.}}{{end}}{{if .Files}}; _files{{end}}{{if .Interfaces}}; compadd -- /sys/class/net/*(N:t){{end}}; break ;;
{{- end}}
        esac
    done
    [[ -n $cmd ]] || compadd -- {{range .}}{{.Name}} {{end}}--socket --output --help --version
}
if [[ $funcstack[1] = _paraxialctl ]]; then
    _paraxialctl "$@"
else
    compdef _paraxialctl paraxialctl
fi
`

const fishScript = `# paraxialctl completion for fish
complete -c paraxialctl -f
complete -c paraxialctl -s o -l output -x -a 'table json'
complete -c paraxialctl -l socket -r -F
{{- range $c := .}}
complete -c paraxialctl -n __fish_use_subcommand -a {{.Name}} -d {{quote .Usage}}
{{- range .Flags}}{{if and (ne .Name "socket") (ne .Name "output")}}
complete -c paraxialctl -n '__fish_seen_subcommand_from {{$c.Name}}' -l {{.Name}}{{if .TakesValue}} -x{{end}} -d {{quote .Usage}}
{{- end}}{{end}}
{{- range .Words}}
complete -c paraxialctl -n '__fish_seen_subcommand_from {{$c.Name}}' -a {{.}}
{{- end}}
{{- if .Files}}
complete -c paraxialctl -n '__fish_seen_subcommand_from {{.Name}}' -F
{{- end}}
{{- if .Interfaces}}
complete -c paraxialctl -n '__fish_seen_subcommand_from {{.Name}}' -a '(ls /sys/class/net)'
{{- end}}
{{- end}}
`
