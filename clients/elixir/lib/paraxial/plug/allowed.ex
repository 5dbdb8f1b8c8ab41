defmodule Paraxial.Plug.Allowed do
  @moduledoc """
  A plug that answers 403 to clients whose packets are dropped. Such requests arrive by a proxy, or
  by an interface without the filter. Other requests pass, also if paraxiald does not answer.

      plug Paraxial.Plug.Allowed, assign: :paraxial, block_tags: ["tor"]

  Options:

    * `:assign` - puts the verdict in the assigns of the connection under this key. Its `"tags"` are
      the sets that contain the address, such as those of clouds.
    * `:block_tags` - also refuses clients with one of these tags
    * `:status` - the status of a refusal, 403

  The connection is a `Plug.Conn`, or any struct with `remote_ip`, `assigns`, `status` and `halted`.
  """

  alias Paraxial.Plug.Conn

  def init(opts), do: Keyword.validate!(opts, assign: nil, block_tags: [], status: 403)

  def call(conn, opts) do
    case Paraxial.verdict(conn.remote_ip) do
      {:ok, verdict} -> judge(conn, verdict, opts)
      {:error, _} -> conn
    end
  end

  defp judge(conn, verdict, opts) do
    tagged? = Enum.any?(Map.get(verdict, "tags", []), &(&1 in opts[:block_tags]))

    cond do
      verdict["verdict"] == "drop" or tagged? -> Conn.refuse(conn, opts[:status])
      opts[:assign] -> %{conn | assigns: Map.put(conn.assigns, opts[:assign], verdict)}
      true -> conn
    end
  end
end
