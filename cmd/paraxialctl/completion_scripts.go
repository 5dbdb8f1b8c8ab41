package main

// findScript is the part that bash and zsh have in common. It reads the words
// before the one to complete from the array before, and leaves what to offer in
// the array offered and in files.
const findScript = `
{{- define "offer"}}{{range .Words}}{{.}} {{end}}
    {{- if .Interfaces}}$(ls /sys/class/net){{end}}){{if .Files}} files=1{{end}}
{{- end}}
{{- define "find"}}    for word in "${before[@]}"; do
        prev=$word
        if [[ -n $skip ]]; then
            skip=
            continue
        fi
        case "$cmd $word" in
{{- range .Globals}}
            *" {{.Typed}}"{{if .Short}}|*" -{{.Short}}"{{end}}) skip=1 ;;
{{- end}}
{{- range .Names}}
            " {{.}}") cmd+=" $word" ;;
{{- end}}
        esac
    done
    case "$cmd $prev" in
{{- range .Globals}}
        *" {{.Typed}}"{{if .Short}}|*" -{{.Short}}"{{end}}) offered=({{template "offer" .Values}} ;;
{{- end}}
{{- range $place := .Places}}{{range .Flags}}{{if .TakesValue}}
        " {{$place.After}} {{.Typed}}") offered=({{template "offer" .Values}} ;;
{{- end}}{{end}}{{end}}
        *) case "$cmd" in
{{- range .Places}}
            "{{if .After}} {{.After}}{{end}}") offered=(
                {{- range .Commands}}{{.Name}} {{end}}
                {{- range $.Globals}}{{.Typed}} {{end}}
                {{- range .Flags}}{{.Typed}} {{end}}
                {{- template "offer" .Args}} ;;
{{- end}}
        esac ;;
    esac
{{end}}`

const bashScript = `# paraxialctl completion for bash
_paraxialctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} word prev= cmd= skip= files=
    local -a before=("${COMP_WORDS[@]:1:COMP_CWORD-1}") offered=()
{{template "find" .}}    COMPREPLY=($(compgen -W "${offered[*]}" -- "$cur"))
    [[ -n $files ]] && COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -F _paraxialctl paraxialctl
`

const zshScript = `#compdef paraxialctl
_paraxialctl() {
    local word prev= cmd= skip= files=
    local -a before offered
    before=("${(@)words[2,CURRENT-1]}")
{{template "find" .}}    compadd -- $offered
    [[ -z $files ]] || _files
}
if [[ $funcstack[1] = _paraxialctl ]]; then
    _paraxialctl "$@"
else
    compdef _paraxialctl paraxialctl
fi
`

const fishScript = `# paraxialctl completion for fish
function __paraxialctl_after --description 'Tell whether the commands typed so far are these'
    set -l typed (commandline -opc)
    set -l names
    set -l skip
    for word in $typed[2..-1]
        if test -n "$skip"
            set skip
            continue
        end
        switch "$word"
{{- range .Globals}}
            case {{.Typed}}{{if .Short}} -{{.Short}}{{end}}
                set skip 1
{{- end}}
            case '*'
                switch (string join -- ' ' $names $word)
                    case{{range .Names}} {{quote .}}{{end}}
                        set names $names $word
                end
        end
    end
    test "$names" = "$argv"
end
{{- define "offer"}}{{if .Files}} -r -F{{else}} -x{{end}}{{with .Words}} -a '{{range .}}{{.}} {{end}}'{{end}}
	{{- if .Interfaces}} -a '(ls /sys/class/net)'{{end}}{{end}}
complete -c paraxialctl -f
{{- range .Globals}}
complete -c paraxialctl{{with .Short}} -s {{.}}{{end}} -l {{.Name}}{{template "offer" .Values}}
{{- end}}
{{- range .Places}}{{$if := printf "-n '__paraxialctl_after %s'" .After}}
{{- range .Commands}}
complete -c paraxialctl {{$if}} -a {{.Name}} -d {{quote .Usage}}
{{- end}}
{{- range .Flags}}
complete -c paraxialctl {{$if}} -l {{.Name}}{{if .TakesValue}}{{template "offer" .Values}}{{end}} -d {{quote .Usage}}
{{- end}}
{{- range .Args.Words}}
complete -c paraxialctl {{$if}} -a {{.}}
{{- end}}
{{- if .Args.Files}}
complete -c paraxialctl {{$if}} -F
{{- end}}
{{- if .Args.Interfaces}}
complete -c paraxialctl {{$if}} -a '(ls /sys/class/net)'
{{- end}}
{{- end}}
`
