defmodule Paraxial.Address do
  @moduledoc false
  # Addresses as text, from tuples or text. An IPv4 address in IPv6 is the IPv4 address.

  @doc "Returns an address as text."
  def text(ip) do
    with {:ok, tuple} <- tuple(ip), do: {:ok, ntoa(tuple)}
  end

  @doc "Returns what to ban for an address: it alone, or the /64 of an IPv6 address."
  def prefix(ip) do
    case tuple(ip) do
      {:ok, {a, b, c, d, _, _, _, _}} -> {:ok, ntoa({a, b, c, d, 0, 0, 0, 0}) <> "/64"}
      {:ok, tuple} -> {:ok, ntoa(tuple) <> "/32"}
      error -> error
    end
  end

  defp tuple({0, 0, 0, 0, 0, 0xFFFF, high, low}),
    do: {:ok, {div(high, 256), rem(high, 256), div(low, 256), rem(low, 256)}}

  defp tuple(ip) when is_tuple(ip) do
    case :inet.ntoa(ip) do
      {:error, _} -> invalid(ip)
      _ -> {:ok, ip}
    end
  end

  defp tuple(ip) when is_binary(ip) do
    case :inet.parse_strict_address(String.to_charlist(ip)) do
      {:ok, tuple} -> tuple(tuple)
      _ -> invalid(ip)
    end
  end

  defp tuple(ip), do: invalid(ip)

  defp invalid(ip), do: {:error, "#{inspect(ip)} is not an address"}

  defp ntoa(tuple), do: tuple |> :inet.ntoa() |> to_string()
end
