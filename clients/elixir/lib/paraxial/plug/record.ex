defmodule Paraxial.Plug.Record do
  @moduledoc """
  A plug that reports requests as events for a rule of paraxiald. It never waits.

      plug Paraxial.Plug.Record, rule: "login", method: "POST", path: "/users/log_in"
      plug Paraxial.Plug.Record, rule: "denied", status: [401, 403]
      plug Paraxial.Plug.Record, rule: "honeypot", path: "/wp-admin/**"

  Options:

    * `:rule` - the name of the rule, required
    * `:method` - a method or a list of them; the default is any
    * `:path` - a path. `*` stands for one segment and `**` for the rest; slashes at the end do not
      matter. The default is any
    * `:status` - report only after an answer with one of these; needs Plug
    * `:points` - the points of an event
  """

  alias Paraxial.Plug.Conn

  def init(opts) do
    opts = Keyword.validate!(opts, [:rule, :method, :path, :status, :points])
    unless opts[:rule], do: raise(ArgumentError, "Paraxial.Plug.Record needs a rule")

    %{
      rule: to_string(opts[:rule]),
      methods: opts[:method] && List.wrap(opts[:method]),
      path: opts[:path] && String.split(opts[:path], "/", trim: true),
      statuses: opts[:status] && List.wrap(opts[:status]),
      fields: Keyword.take(opts, [:points])
    }
  end

  def call(conn, opts) do
    cond do
      not matches?(conn, opts) -> conn
      opts.statuses -> Conn.before_send(conn, &after_answer(&1, opts))
      true -> record(conn, opts)
    end
  end

  defp matches?(conn, opts) do
    (opts.methods == nil or conn.method in opts.methods) and
      (opts.path == nil or path?(opts.path, String.split(conn.request_path, "/", trim: true)))
  end

  defp path?(["**"], _), do: true
  defp path?(["*" | wanted], [_ | rest]), do: path?(wanted, rest)
  defp path?([same | wanted], [same | rest]), do: path?(wanted, rest)
  defp path?(wanted, rest), do: wanted == [] and rest == []

  defp after_answer(conn, opts) do
    if conn.status in opts.statuses, do: record(conn, opts), else: conn
  end

  defp record(conn, opts) do
    Paraxial.report(
      opts.rule,
      conn.remote_ip,
      [path: conn.request_path, text: conn.method] ++ opts.fields
    )

    conn
  end
end
